"""What becomes of the pictures when the window around them is another size."""

from contextlib import AsyncExitStack

from playwright.async_api import Page, expect

from server_stub.relay import Relay
from tests.end_to_end.conftest import OpenDevice, OpenPage, ScriptedDevice
from tests.end_to_end.house import DEVICE_ID
from tests.end_to_end.played import NOTE_REQUESTS, grant, serve, tile_of
from tests.support import eventually

NARROW, STILL_NARROW, WIDE = 1000, 1200, 1900
SETTLED_MS = 1000
# Those who look for another size are called in turn, this one last.
LAID_OUT = """() => new Promise((resolve) => {
  new ResizeObserver(resolve).observe(document.getElementById('wall'));
})"""


async def resize(page: Page, width_px: int) -> None:
    """Let the window be so wide, and stay it."""
    await page.set_viewport_size({"width": width_px, "height": 800})
    await page.wait_for_function(f"innerWidth === {width_px}")
    await page.evaluate(LAID_OUT)
    await page.clock.run_for(SETTLED_MS)


async def test_pictures_ask_for_what_the_window_is_worth(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """In a window that has become wide two ask for more, and for a little more width for nothing."""
    await grant(server, "attic")
    devices = [await device_for(server.port), await device_for(server.port, "attic")]
    page = await page_for(server.port, viewport={"width": NARROW, "height": 800})
    await page.get_by_role("button", name="Watch all 2 online").click()
    for device in devices:
        assert await _asks_for_little(device)
    await resize(page, STILL_NARROW)
    await resize(page, WIDE)
    for device in devices:
        assert not await _asks_for_little(device)
    await resize(page, NARROW)
    for device in devices:
        assert await _asks_for_little(device)


async def test_a_picture_that_cannot_be_replaced_yet_goes_on(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Without its device's way to the relay a picture of another size is not to be had: the old one stays."""
    await grant(server, "attic")
    device = await device_for(server.port)
    await device_for(server.port, "attic")
    narrow = {"width": NARROW, "height": 800}
    page = await page_for(server.port, before=NOTE_REQUESTS, viewport=narrow)
    await page.get_by_role("button", name="Watch all 2 online").click()
    tile = tile_of(page, DEVICE_ID)
    async with AsyncExitStack() as stack:
        await serve(device, stack)
        await expect(tile).to_have_attribute("data-picture", "moving")
        await device.close()
        await expect(tile).to_contain_text("The picture goes on.")
        # By now the page leaves some seconds between two attempts, in which the window changes.
        for _ in range(4):
            await _try_again(page)
        await resize(page, WIDE)
        for _ in range(2):
            await _try_again(page)
        await expect(tile).to_have_attribute("data-picture", "moving")
        await expect(tile).to_contain_text("The picture goes on.")


async def _try_again(page: Page) -> None:
    """Look at the page again, which then tries; an attempt before that one has failed."""
    asked = await _requests(page)

    async def has_asked() -> bool:
        # It does not while an attempt is under way.
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        return await _requests(page) > asked

    await eventually(has_asked)


async def _requests(page: Page) -> int:
    """Count how often the page has asked for the device so far."""
    return list(await page.evaluate("asked")).count(DEVICE_ID)


async def _asks_for_little(device: ScriptedDevice) -> bool:
    return "b=AS:" in (await device.receive("signal_offer"))["sdp"]["sdp"]

"""What lets the first picture come soon after a click: what is ready by then, and what stays away."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Page, expect

from server_stub.relay import Relay
from tests.end_to_end.conftest import OpenDevice, OpenPage
from tests.end_to_end.house import DEVICE_ID, USER_ID, relay
from tests.support import eventually

OTHER = "other"

# Notes what is done with peer connections.
NOTING = """
  window.done = [];
  const Real = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(...words) { super(...words); done.push('made'); }
    createOffer() {
      return super.createOffer().then((offer) => { done.push('offered'); return offer; });
    }
    setLocalDescription(...words) { done.push('used'); return super.setLocalDescription(...words); }
  };
"""


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[Relay]:
    """Hold a relay with two devices and one user who may watch them."""
    async with relay(tmp_path) as one:
        await one.store.add_device(OTHER)
        await one.store.grant(USER_ID, OTHER)
        yield one


async def done_with_connections(page: Page) -> list[str]:
    return [str(one) for one in await page.evaluate("done")]


async def until_ready(page: Page, *, offers: int = 1) -> None:
    """Wait for the page's offers so far; its clock has to be moved for its idle time to come."""

    async def is_ready() -> bool:
        await page.clock.run_for(50)
        return (await done_with_connections(page)).count("offered") == offers

    await eventually(is_ready)


async def click(page: Page, device_id: str) -> None:
    await page.locator(f"button.device[data-device-id={device_id}]").click()


async def test_the_offer_is_there_before_the_click(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Whoever looks at the list has one connection made ahead, which the click uses; then another."""
    device = await device_for(server.port)
    await device_for(server.port, OTHER)
    page = await page_for(server.port, before=NOTING)
    await until_ready(page)
    await page.clock.run_for(20_000)
    assert await done_with_connections(page) == ["made", "offered"]

    await click(page, DEVICE_ID)
    await device.receive("signal_offer")
    assert await done_with_connections(page) == ["made", "offered", "used"]

    await page.get_by_role("button", name="End").click()
    await until_ready(page, offers=2)
    assert await done_with_connections(page) == ["made", "offered", "used", "made", "offered"]


async def test_an_offer_that_is_too_old_is_made_anew(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """A list that stood open for days holds a certificate that may end soon."""
    device = await device_for(server.port)
    await device_for(server.port, OTHER)
    page = await page_for(server.port, before=NOTING)
    await until_ready(page)
    await page.clock.fast_forward("48:00:00")

    await click(page, DEVICE_ID)
    await device.receive("signal_offer")

    assert await done_with_connections(page) == ["made", "offered", "made", "offered", "used"]


async def test_the_video_is_in_its_place_before_the_answer(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """It is set up while the device thinks about the offer."""
    device = await device_for(server.port)
    await device_for(server.port, OTHER)
    page = await page_for(server.port)
    await click(page, DEVICE_ID)
    await device.receive("signal_offer")

    has_stream = "[...document.querySelectorAll('video')].filter((one) => one.srcObject).length"

    async def is_in_place() -> bool:
        return bool(await page.evaluate(has_stream) == 1)

    await eventually(is_in_place)
    await expect(page.locator("body")).to_have_attribute("data-watch-state", "offer_sent")


async def test_nothing_behind_anything_is_filtered(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Blurring the stage at each turn of the spinner took a core, just while it connected."""
    await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    await expect(page.locator("[data-part=spinner]")).to_be_visible()

    filters = await page.evaluate(
        "[...document.querySelectorAll('*')].map((one) => getComputedStyle(one).backdropFilter)"
    )

    assert set(filters) == {"none"}

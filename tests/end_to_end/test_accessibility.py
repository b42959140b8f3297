"""Nothing that axe-core finds keeps anybody out of the page: in every state, size and scheme."""

import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Page, ViewportSize, expect

from server_stub.relay import Relay
from tests.conftest import missing
from tests.end_to_end.conftest import OpenDevice, OpenPage, good_token
from tests.end_to_end.house import DEVICE_ID
from tests.end_to_end.played import expect_state, grant, serve, tile_of
from tests.end_to_end.test_viewing import STRAINED

FETCH = Path(__file__).parents[1] / "fetch-axe"
LOOKS: dict[Literal["light", "dark"], ViewportSize] = {
    "light": {"width": 1280, "height": 800},
    "dark": {"width": 360, "height": 740},
}
FIND = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ['violations'] });
  return violations.map(({ id, nodes }) =>
    [id, nodes.map(({ target, failureSummary }) => [target.join(' '), failureSummary])]);
}"""

Check = Callable[[Page], Any]


@pytest.fixture
def check() -> Check:
    """Give what fails if axe finds anything, on a light desktop and a dark phone; or skip."""
    fetch = subprocess.run([FETCH], capture_output=True, text=True, check=False)
    if fetch.returncode != 0:
        missing(f"axe-core is not to be had: {fetch.stderr.strip()}")
    axe = Path(fetch.stdout.strip()).read_text()

    async def check_all(page: Page) -> None:
        await page.evaluate(axe)
        found = []
        for scheme, size in LOOKS.items():
            await page.emulate_media(color_scheme=scheme)
            await page.set_viewport_size(size)
            found += [(scheme, one) for one in await page.evaluate(FIND)]
        assert found == []

    return check_all


async def test_signing_in(server: Relay, page_for: OpenPage, check: Check) -> None:
    """The form, and what it says of a token that is not accepted."""
    page = await page_for(server.port, token=None)
    await expect_state(page, state="signed_out")
    await check(page)
    await page.get_by_label("Access token").fill("nonsense")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    await check(page)


async def test_choosing(
    server: Relay, page_for: OpenPage, device_for: OpenDevice, check: Check
) -> None:
    """Cards with everything that a card can have, the help over them, and no card at all."""
    await grant(server, "attic", "garden")
    await (await device_for(server.port)).say("device_presence", **STRAINED)
    await device_for(server.port, "attic")
    page = await page_for(server.port)
    await expect(page.locator(".warnings > span").first).to_be_visible()
    await check(page)
    await page.keyboard.press("?")
    await check(page)
    empty = await page_for(server.port, token=good_token("stranger"))
    await expect(empty.locator("#devices-note")).to_contain_text("no camera for you")
    await check(empty)


async def test_asking(
    server: Relay, page_for: OpenPage, device_for: OpenDevice, check: Check
) -> None:
    """While the camera thinks, on a page of which nothing else is wanted: axe may take longer than it may."""
    await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    await expect_state(page, state="asking", watch_state="offer_sent")
    await check(page)


async def test_watching(
    server: Relay, page_for: OpenPage, device_for: OpenDevice, check: Check
) -> None:
    """With a picture, with its live figures, and with a picture that stands."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    async with AsyncExitStack() as stack:
        await serve(device, stack)
        await expect_state(page, state="live")
        await expect(page.locator("[data-part=figures]")).to_be_visible()
        await check(page)
        await page.keyboard.press("i")
        await expect(page.get_by_role("region", name="Live figures")).to_be_visible()
        await check(page)
        await device.close()
    await expect_state(page, picture="still", failure="device_offline")
    await check(page)


async def test_what_only_a_person_can_mend(server: Relay, page_for: OpenPage, check: Check) -> None:
    """A browser without WebRTC, and a device that is somebody else's."""
    await server.store.add_device("foreign")
    page = await page_for(server.port, device="foreign")
    await expect_state(page, state="stopped", failure="unauthorized")
    await check(page)
    before = "delete window.RTCPeerConnection"
    page = await page_for(server.port, device=DEVICE_ID, before=before)
    await expect_state(page, state="stopped", failure="no_webrtc")
    await check(page)


async def test_side_by_side(
    server: Relay, page_for: OpenPage, device_for: OpenDevice, check: Check
) -> None:
    """Pictures and failures in one grid, and one of them enlarged."""
    await grant(server, "attic", "garden")
    cam, _ = await device_for(server.port), await device_for(server.port, "garden")
    page = await page_for(server.port)
    for device_id in (DEVICE_ID, "attic", "garden"):
        await page.get_by_label(f"Pick {device_id} ").check()
    await page.get_by_role("button", name="Watch 3 picked").click()
    async with AsyncExitStack() as stack:
        await serve(cam, stack)
        await expect(tile_of(page, DEVICE_ID)).to_have_attribute("data-picture", "moving")
        await expect(tile_of(page, "attic")).to_contain_text("The camera is offline.")
        await check(page)
        await page.keyboard.press("2")
        await expect(page.locator("#wall")).to_have_attribute("data-layout", "focus")
        await check(page)

"""A browser that plays no video before somebody has clicked, as an iPhone that saves its battery."""

from contextlib import AsyncExitStack

from playwright.async_api import expect

from server_stub.relay import Relay
from tests.end_to_end.conftest import OpenDevice, OpenPage
from tests.end_to_end.house import DEVICE_ID, Watching
from tests.end_to_end.played import expect_state, serve

# Only a video that was told to play within a click or a key's press may play from then on.
PLAY_NOTHING_UNASKED = """
  const allowed = new WeakSet();
  const { play } = HTMLMediaElement.prototype;
  HTMLMediaElement.prototype.play = function () {
    if (['click', 'keydown'].includes(window.event?.type)) allowed.add(this);
    if (allowed.has(this)) return play.call(this);
    this.autoplay = false;
    this.pause();
    return Promise.reject(new DOMException('play() needs a gesture', 'NotAllowedError'));
  };
"""


async def test_a_click_lets_the_picture_play(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """The page says what the browser wants, does not try in vain, and plays once it was clicked."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID, before=PLAY_NOTHING_UNASKED)
    async with AsyncExitStack() as stack:
        await serve(device, stack)
        await expect_state(page, state="stopped", failure="no_autoplay")
        await expect(page.locator("[data-part=status-title]")).to_have_text(
            "Your browser does not play video by itself."
        )
        await expect(page.locator("[data-part=countdown]")).to_be_empty()
        await page.get_by_role("button", name="Try again").click()
        await serve(device, stack)
        await expect_state(page, state="live")
        await Watching(page).until_it_moves()

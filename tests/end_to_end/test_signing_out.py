"""Whoever signs out leaves nothing behind for whoever sits down next."""

from contextlib import AsyncExitStack

from playwright.async_api import expect

from server_stub.relay import Relay
from tests.end_to_end.conftest import OpenDevice, OpenPage, good_token
from tests.end_to_end.house import DEVICE_ID
from tests.end_to_end.played import button_of, expect_state, serve, sign_in_again
from tests.support import eventually

# A browser makes a picture's file in its own time.
COUNT_BLOBS = """
  window.blobs = 0;
  const { toBlob } = HTMLCanvasElement.prototype;
  HTMLCanvasElement.prototype.toBlob = function (take, ...how) {
    toBlob.call(this, (blob) => { take(blob); window.blobs += 1; }, ...how);
  };
"""


async def test_the_picture_that_was_seen_is_gone(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Also if it was being watched, and its small copy is ready only after the end."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID, before=COUNT_BLOBS)
    async with AsyncExitStack() as stack:
        await serve(device, stack)
        await expect_state(page, state="live")
        await page.get_by_role("button", name="Sign out").click()
    await expect_state(page, state="signed_out")
    await eventually(lambda: page.evaluate("blobs === 1"))
    await sign_in_again(page, device, DEVICE_ID)
    await expect(button_of(page, DEVICE_ID).locator("img")).to_be_hidden()


async def test_the_token_is_not_left_in_the_form(server: Relay, page_for: OpenPage) -> None:
    """What was pasted is in the field no longer, and Enter signs nobody in."""
    page = await page_for(server.port, token=None)
    await page.get_by_label("Access token").fill(good_token())
    await page.keyboard.press("Enter")
    await expect_state(page, state="choosing", link="active")
    await page.get_by_role("button", name="Sign out").click()
    await expect_state(page, state="signed_out")
    await expect(page.get_by_label("Access token")).to_have_value("")
    await page.keyboard.press("Enter")
    await expect_state(page, state="signed_out", link="stopped")

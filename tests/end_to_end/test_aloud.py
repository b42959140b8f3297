"""What a person has of the page who does not see it: the focus is somewhere, and news is said once."""

from playwright.async_api import expect

from server_stub.relay import Relay
from tests.end_to_end.conftest import OpenDevice, OpenPage
from tests.end_to_end.house import DEVICE_ID
from tests.end_to_end.played import expect_state, grant, tile_of


async def test_the_focus_outlives_the_button_that_was_pressed(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Try again goes as it is pressed, and Close with its picture: reading goes on at the title."""
    await grant(server, "attic")
    device = await device_for(server.port)
    await device_for(server.port, "attic")
    page = await page_for(server.port)
    title = page.locator("#watch-title")
    await page.get_by_role("button", name="Watch all 2 online").click()
    await page.get_by_role("button", name="Close attic").press("Enter")
    await expect(tile_of(page, "attic")).to_have_count(0)
    await expect(title).to_be_focused()

    await device.close()
    await expect_state(page, failure="device_offline")
    await page.get_by_role("button", name="Try again").press("Enter")
    await expect(title).to_be_focused()

"""What a person has of the page who does not see it: the focus is somewhere, and news is said once."""

from datetime import datetime, timedelta
from pathlib import Path

from playwright.async_api import Route, expect

from server_stub.relay import Relay
from tests.end_to_end.conftest import OpenDevice, OpenPage
from tests.end_to_end.house import DEVICE_ID, relay
from tests.end_to_end.played import NOTE_TEXTS, expect_state, grant, tile_of

POLL_MS = 5_000


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


async def test_what_changes_by_the_minute_is_not_said_each_minute(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """That a camera is offline is said once; since when can be read."""
    await (await device_for(server.port)).close()
    page = await page_for(server.port, device=DEVICE_ID)
    await expect_state(page, failure="device_offline")
    advice = page.locator("[data-part=status-advice]")
    await expect(advice).to_contain_text("just now")
    await page.evaluate(NOTE_TEXTS, "[data-part=aloud]")
    await page.route("**/api/devices", a_minute_older)
    await page.clock.run_for(POLL_MS)
    await expect(advice).to_contain_text("1 min ago")
    assert await page.evaluate("texts") == []


async def a_minute_older(route: Route) -> None:
    """Let the relay's answer be what it would be had the devices gone a minute before they did."""
    answer = await (await route.fetch()).json()
    for device in answer["devices"]:
        seen_at = datetime.fromisoformat(device["last_seen_at"]) - timedelta(minutes=1)
        device["last_seen_at"] = seen_at.isoformat()
    await route.fulfill(json=answer)


async def test_each_attempt_to_reach_the_relay_is_no_news(
    page_for: OpenPage, tmp_path: Path
) -> None:
    """While the relay is away that is said once, however often the page tries."""
    async with relay(tmp_path) as server:
        page = await page_for(server.port)
        await expect_state(page, link="active")
        await page.evaluate(NOTE_TEXTS, "#link-text")
    for _ in range(3):
        await expect_state(page, link="waiting")
        # An attempt is refused at once, and then it waits for the next.
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert await page.evaluate("texts") == ["Server unreachable"]

"""What is told of a picture that one session after another has shown."""

from contextlib import AsyncExitStack
from pathlib import Path

from server_stub.app import running
from tests.end_to_end.conftest import OpenDevice, OpenPage
from tests.end_to_end.house import DEVICE_ID, relay, relay_settings
from tests.end_to_end.played import expect_state, serve

AWAY_S = 20
STEP_S = 5


async def test_a_renewed_session_counts_from_when_it_could_be_asked_for(
    page_for: OpenPage, device_for: OpenDevice, tmp_path: Path
) -> None:
    """The first picture after a break took as long as that session did, not as the server was away."""
    async with AsyncExitStack() as first:
        port = (await first.enter_async_context(relay(tmp_path))).port
        page = await page_for(port, device=DEVICE_ID)
        await serve(await device_for(port), first)
        await expect_state(page, state="live")
    await expect_state(page, picture="still", link="waiting")
    for _ in range(AWAY_S // STEP_S):
        # Before an attempt could take too long by the page's clock, it has failed.
        await page.clock.run_for(1000 * STEP_S)
        await expect_state(page, link="waiting")

    async with running(relay_settings(tmp_path, port=port)), AsyncExitStack() as second:
        device = await device_for(port)
        await page.get_by_role("button", name="Try again").click()
        await serve(device, second)
        await expect_state(page, state="live")
        video = page.locator("video[data-shown]")
        assert 0 < int(await video.get_attribute("data-first-frame-ms") or 0) < 1000 * AWAY_S

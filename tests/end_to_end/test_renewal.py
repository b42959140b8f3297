"""What is told of a picture that one session after another has shown."""

import re
from contextlib import AsyncExitStack
from pathlib import Path

from playwright.async_api import Page

from server_stub.app import running
from tests.end_to_end.conftest import OpenDevice, OpenPage
from tests.end_to_end.house import DEVICE_ID, Watching, relay, relay_settings
from tests.end_to_end.played import expect_state, serve
from tests.end_to_end.readout import Readout
from tests.support import eventually

AWAY_S = 20
STEP_S = 5


async def test_a_break_is_neither_waiting_nor_forgotten(
    page_for: OpenPage, device_for: OpenDevice, tmp_path: Path
) -> None:
    """Its first picture took as long as it did; figures and plots are the break's as well."""
    async with AsyncExitStack() as first:
        port = (await first.enter_async_context(relay(tmp_path))).port
        page = await page_for(port, device=DEVICE_ID)
        readout = Readout(Watching(page))
        await serve(await device_for(port), first)
        await expect_state(page, state="live")
        await readout.show()
        await eventually(lambda: _plotted_s(page))
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

        async def is_plotted() -> bool:
            return await _plotted_s(page) > AWAY_S

        await eventually(is_plotted)
        count, frozen_s = await readout.freezes()
        assert count >= 1
        assert frozen_s > AWAY_S


async def _plotted_s(page: Page) -> float:
    """Give how many seconds of bitrate are seen, from the first known to the last; a line is a minute wide."""
    line = page.locator("[data-part=figures-panel] .plot .line").first
    places = [float(x) for x in re.findall(r"[ML]([\d.]+) ", await line.get_attribute("d") or "")]
    return 59 * (max(places) - min(places)) / 240 if places else 0

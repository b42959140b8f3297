"""What the page's figures say, and beside them what the timestamp cells of the picture say."""

import asyncio
import re
import statistics
from typing import Any

from tests.cells import CELLS_READER
from tests.end_to_end.house import Watching
from tests.support import DEADLINE_S

# Reads the cells (camagent/media/timestamp.py) of each picture as it is about to be displayed.
_READ_CELLS = """(video) => {
  const seen = window.seen = [];
  const capturedAtMs = (__CELLS_READER__)(video);
  const look = (_now, { expectedDisplayTime }) => {
    const nowMs = Date.now();
    const atMs = capturedAtMs();
    const displayedAtMs = performance.timeOrigin + expectedDisplayTime;
    if (atMs !== null) seen.push([displayedAtMs - atMs, nowMs - atMs]);
    if (seen.length > 3000) seen.shift();
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}""".replace("__CELLS_READER__", CELLS_READER)

# Each second the plots are drawn anew, whether or not a figure has changed.
_NEXT = """() => new Promise((resolve) => {
  const observer = new MutationObserver(() => {
    observer.disconnect();
    setTimeout(resolve);
  });
  const line = document.querySelector('[data-part=figures-panel] .plot .line');
  observer.observe(line, { attributes: true });
})"""


class Readout:
    """The overlay of one page that watches."""

    def __init__(self, person: Watching) -> None:
        self._person = person

    async def show(self) -> None:
        """Have it shown, and the cells read."""
        button = self._person.page.get_by_role("button", name="Figures")
        if await button.get_attribute("aria-pressed") == "false":
            await button.click()
        await self._person.video.evaluate(_READ_CELLS)

    async def until_next(self) -> None:
        """Wait for the next second's figures."""
        async with asyncio.timeout(DEADLINE_S):
            await self._person.page.evaluate(_NEXT)

    async def text(self, name: str) -> str:
        """Give one figure as it is shown."""
        figure = self._person.page.locator(f"[data-figure={name}]")
        return str(await figure.text_content(timeout=5_000))

    async def number(self, name: str) -> float | None:
        """Give the first number of a figure; None while it is not known."""
        found = re.match(r"[-\d.]+", await self.text(name))
        return float(found[0]) if found and found[0] != "-" else None

    async def bits_per_s(self) -> float:
        """Give the bitrate."""
        text = await self.text("bitrate")
        scale = {"kbit/s": 1e3, "Mbit/s": 1e6}[text.split(" ")[-1]]
        return float(text.split(" ")[0]) * scale

    async def freezes(self) -> tuple[int, float]:
        """Give how many there were, and how many seconds they took in all."""
        text = await self.text("freezes")
        if text == "none":
            return 0, 0.0
        count, frozen_s = text.split(" ")[:2]
        return int(count.rstrip(",")), float(frozen_s)

    async def forget(self) -> None:
        """Look at the cells of pictures from now on only."""
        await self._person.page.evaluate("() => { window.seen.length = 0; }")

    async def cells(self) -> tuple[float, float]:
        """Give the median latency by the cells in milliseconds: to the display, and to the page."""
        seen: list[Any] = await self._person.page.evaluate("() => window.seen")
        return (
            statistics.median(to_display for to_display, _ in seen),
            statistics.median(to_page for _, to_page in seen),
        )

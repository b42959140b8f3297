"""What a page sees of its video, second by second: how smooth, how late, in how many bits."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Page

from tests.cells import CELLS_READER

_MS_PER_S = 1_000
_MOVES_BY_S = 0.5
_TROUBLE_FOR_S = 5.0

# Reads the timestamp cells (camagent/media/timestamp.py) of some of the pictures, for it takes time.
_WATCH = """() => {
  const video = document.querySelector('video');
  const gauge = window.gauge = { shown: [], late: [] };
  let readAt = 0;
  const capturedAt = (__CELLS_READER__)(video);
  const look = () => {
    const now = Date.now();
    gauge.shown.push(now);
    if (now - readAt >= 90) {
      readAt = now;
      const at = capturedAt();
      if (at !== null && at <= now && now - at < 60000) gauge.late.push([now, now - at]);
    }
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}""".replace("__CELLS_READER__", CELLS_READER)


@dataclass(frozen=True)
class Count:
    """`inbound-rtp` at some time, in seconds of Unix time (W3C webrtc-stats)."""

    at_s: float
    frames: int
    bytes: int
    freezes: int


@dataclass
class Seen:
    """What a page saw; all times in seconds of Unix time.

    Attributes:
        shown_at_s: when each picture was shown.
        late_s: of some of them, when it was shown and how long after it was captured.
        counts: what had been received at some times.
    """

    shown_at_s: Sequence[float] = ()
    late_s: Sequence[tuple[float, float]] = ()
    counts: list[Count] = field(default_factory=list)

    def between(self, start_s: float, end_s: float) -> "Seen":
        """Give what was seen in that time."""
        return Seen(
            [at_s for at_s in self.shown_at_s if start_s <= at_s <= end_s],
            [(at_s, late_s) for at_s, late_s in self.late_s if start_s <= at_s <= end_s],
            [count for count in self.counts if start_s <= count.at_s <= end_s],
        )

    @property
    def frames_per_second(self) -> float:
        """Pictures decoded."""
        first, last = self.counts[0], self.counts[-1]
        return (last.frames - first.frames) / (last.at_s - first.at_s)

    @property
    def rate_bps(self) -> float:
        """Bits received, RTP headers and retransmissions among them."""
        first, last = self.counts[0], self.counts[-1]
        return 8 * (last.bytes - first.bytes) / (last.at_s - first.at_s)

    @property
    def freezes(self) -> int:
        """How often the page itself says that the picture froze."""
        return self.counts[-1].freezes - self.counts[0].freezes

    @property
    def lateness_s(self) -> float:
        """From capture to display, the median; NaN if no picture could be read."""
        return (
            statistics.median(late_s for _, late_s in self.late_s) if self.late_s else float("nan")
        )

    def longest_gap_s(self, start_s: float, end_s: float) -> float:
        """Give the longest time within these during which no new picture was shown."""
        marks = [start_s, *(at_s for at_s in self.shown_at_s if start_s < at_s < end_s), end_s]
        return max(later - earlier for earlier, later in itertools.pairwise(marks))

    def moves_again_s(self, after_s: float) -> float:
        """Give the seconds from then until the picture moves, at least twice a second, and goes on so.

        For five seconds, that is; 0 if it never ceased to.
        """
        end_s = after_s + _TROUBLE_FOR_S
        marks = [
            after_s,
            *(at_s for at_s in self.shown_at_s if after_s < at_s < end_s + 1),
            end_s + 1,
        ]
        stops = [
            later
            for earlier, later in itertools.pairwise(marks)
            if later - earlier > _MOVES_BY_S and earlier < end_s
        ]
        return stops[-1] - after_s if stops else 0.0

    def receives_again_s(self, after_s: float, rate_bps: float, *, over_s: float) -> float:
        """Give the seconds from then until so much is received, on average `over_s`."""
        since = [count for count in self.counts if count.at_s >= after_s]
        for start in since:
            end = next((one for one in since if one.at_s >= start.at_s + over_s), None)
            if end and 8 * (end.bytes - start.bytes) / (end.at_s - start.at_s) >= rate_bps:
                return end.at_s - after_s
        return float("inf")


class Gauge:
    """Watches the video of one page."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.seen = Seen()

    async def start(self) -> None:
        """Note each picture from now on."""
        await self._page.evaluate(_WATCH)

    def count(self, stats: dict[str, Any]) -> None:
        """Take the page's newest `inbound-rtp`."""
        self.seen.counts.append(
            Count(
                at_s=stats.get("timestamp", 0) / _MS_PER_S,
                frames=stats.get("framesDecoded", 0),
                bytes=stats.get("bytesReceived", 0) + stats.get("headerBytesReceived", 0),
                freezes=stats.get("freezeCount", 0),
            )
        )

    async def read(self) -> Seen:
        """Give all that was seen since the start; the pictures only of who was watched."""
        noted = await self._page.evaluate("() => window.gauge ?? { shown: [], late: [] }")
        self.seen.shown_at_s = [at_ms / _MS_PER_S for at_ms in noted["shown"]]
        self.seen.late_s = [
            (at_ms / _MS_PER_S, late_ms / _MS_PER_S) for at_ms, late_ms in noted["late"]
        ]
        return self.seen

"""Who watches which rung, and at what rate each is encoded. Pure.

The main rung serves the viewers whose ways are about as good as each other's, at the rate of the
least of them. Who would hold the others back, or cannot carry the main rung's size at all, or wants
little, goes to the low one together with its like; who cannot carry that either gets its keyframes
only. Where there is no low rung, nobody is held back by who wants little. Going down
is quick, for it helps at once; going up takes proof and time, for each change costs a keyframe.
"""

import enum
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_BITS_PER_PIXEL = 0.02
"""Below this a frame is better left out than made: what remains looks better."""

_LEAST_RATE_SHARE = 0.4
"""The main rung's frame rate is not lowered further than to this share; then it is the low rung's turn."""

_OUTLIER = 0.6
_OUTLIER_FOR_S = 1.5
BACK = 1.3
"""Who moves up has to take so many times what is needed there."""

_BACK_AFTER_S = 3.0
_STILLS_AFTER_S = 1.0
_STAY_S = 6.0


class Place(enum.Enum):
    """What a viewer gets."""

    MAIN = "main"
    LOW = "low"
    STILLS = "stills"
    """The low rung's keyframes."""


@dataclass(frozen=True, kw_only=True)
class RungSize:
    """What one rung is made of, when there are bits enough."""

    width_px: int
    height_px: int
    frames_per_second: int
    ceiling_bps: int

    def frame_rate(self, bitrate_bps: int) -> int:
        """Give the frames per second that so many bits are enough for."""
        carried = bitrate_bps / (_BITS_PER_PIXEL * self.width_px * self.height_px)
        least = max(1, round(self.frames_per_second * _LEAST_RATE_SHARE))
        return max(least, min(self.frames_per_second, round(carried)))

    @property
    def least_bps(self) -> int:
        """The fewest bits with which it is worth watching."""
        pixels_per_s = self.width_px * self.height_px * self.frames_per_second
        return round(_BITS_PER_PIXEL * pixels_per_s * _LEAST_RATE_SHARE)


@dataclass
class Watcher:
    """One viewer, as the plan sees it.

    Attributes:
        target_bps: what its way takes.
        ceiling_bps: the most that it wants, whatever its way takes.
        place: what it gets.
        moved_at_s: since when.
        inclined_since_s: since when it would rather be elsewhere; None if it would not.
        is_flooded: what it is sent does not arrive; every moment more of it makes that worse.
    """

    target_bps: int
    ceiling_bps: float = math.inf
    place: Place = Place.MAIN
    moved_at_s: float = float("-inf")
    inclined_since_s: float | None = None
    is_flooded: bool = False


@dataclass(frozen=True)
class Rates:
    """What each rung is to be encoded with; None for one that nobody watches."""

    main_bps: int | None
    low_bps: int | None


class Plan:
    """Places viewers on rungs.

    `low` is None where there is no low rung. Nothing is encoded with less than `floor_bps`.
    """

    def __init__(self, main: RungSize, low: RungSize | None, *, floor_bps: int) -> None:
        self._main = main
        self._low = low
        self._floor_bps = floor_bps

    def place(self, watchers: Sequence[Watcher], *, now_s: float) -> None:
        """Move whoever is to be moved."""
        if self._low is None:
            return
        for watcher in watchers:
            wish = self._wish(watcher, watchers)
            if wish is watcher.place:
                watcher.inclined_since_s = None
                continue
            if watcher.inclined_since_s is None:
                watcher.inclined_since_s = now_s
            if now_s - watcher.inclined_since_s >= self._patience_s(watcher, wish, now_s):
                watcher.place, watcher.moved_at_s, watcher.inclined_since_s = wish, now_s, None

    def rates(self, watchers: Sequence[Watcher]) -> Rates:
        """Give each rung the rate of the least of those who watch it, and no more than any wants."""
        mains = [one for one in watchers if one.place is Place.MAIN]
        # Who is about to leave it holds nobody back meanwhile.
        staying = [one for one in mains if one.inclined_since_s is None] or mains
        main = [one.target_bps for one in staying]
        low = [one.target_bps for one in watchers if one.place is Place.LOW]
        low_bps = None
        if self._low is not None and any(one.place is not Place.MAIN for one in watchers):
            least = min(low, default=self.needed_for_low)
            bound_bps = min(self._low.ceiling_bps, _wanted(watchers, Place.LOW))
            low_bps = max(self.needed_for_low, round(min(bound_bps, least)))
        if not main:
            return Rates(None, low_bps)
        bound_bps = min(self._main.ceiling_bps, _wanted(watchers, Place.MAIN))
        return Rates(max(self._floor_bps, round(min(*main, bound_bps))), low_bps)

    def wants_little(self, watcher: Watcher) -> bool:
        """True if the main rung is more than it asks for."""
        return watcher.ceiling_bps < _OUTLIER * self._main.ceiling_bps

    @property
    def needed_for_low(self) -> int:
        """What a viewer's way has to take so that it sees more of the low rung than stills."""
        return 0 if self._low is None else max(self._floor_bps, self._low.least_bps)

    def needed_for_main(self, watcher: Watcher, watchers: Sequence[Watcher]) -> float:
        """Say what a viewer's way has to take so that it may share the main rung.

        No way is good enough for who wants little.
        """
        if self.wants_little(watcher):
            return math.inf
        others = [
            one.target_bps for one in watchers if one.place is Place.MAIN and one is not watcher
        ]
        least_bps = float(self._main.least_bps)
        return max(least_bps, _OUTLIER * statistics.median(others)) if others else least_bps

    def _wish(self, watcher: Watcher, watchers: Sequence[Watcher]) -> Place:
        assert self._low is not None, "without one nobody moves"
        needed_bps = self.needed_for_main(watcher, watchers)
        if watcher.place is Place.MAIN:
            return Place.MAIN if watcher.target_bps >= needed_bps else Place.LOW
        if watcher.target_bps >= BACK * needed_bps:
            return Place.MAIN
        least_bps = self.needed_for_low * (BACK if watcher.place is Place.STILLS else 1)
        return Place.LOW if watcher.target_bps >= least_bps else Place.STILLS

    def _patience_s(self, watcher: Watcher, wish: Place, now_s: float) -> float:
        """Say for how long a viewer has to be inclined to move there."""
        if wish is Place.STILLS:
            return _STILLS_AFTER_S
        is_down = watcher.place is Place.MAIN
        if is_down:
            is_too_little = watcher.target_bps < self._main.least_bps
            is_urgent = watcher.is_flooded or is_too_little or self.wants_little(watcher)
            return 0.0 if is_urgent else _OUTLIER_FOR_S
        return max(_BACK_AFTER_S, _STAY_S - (now_s - watcher.moved_at_s))


def _wanted(watchers: Sequence[Watcher], place: Place) -> float:
    """Give the most that anybody there wants."""
    return max((one.ceiling_bps for one in watchers if one.place is place), default=math.inf)

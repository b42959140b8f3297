"""Lets the encoders follow the viewers: what each reports becomes rates, and places on the rungs.

    reports, REMB ──► ViewerRate, one a viewer ──► Plan ──► rate and frame rate of each rung
                                                       └──► each viewer's seat

Everything here runs on the event loop.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn, Protocol, TypeVar

import structlog

from camagent.media.frame import RungRate
from camagent.media.hub import VideoHub
from camagent.webrtc.allowance import KeyframeAllowance
from camagent.webrtc.bitrate import RateLimits, ViewerRate
from camagent.webrtc.probing import Probing
from camagent.webrtc.rungs import BACK, Place, Plan, RungSize, Watcher
from camagent.webrtc.seat import Seat
from camagent.webrtc.sending import Followers, Sender

T = TypeVar("T")

log = structlog.get_logger(__name__)

_LOOK_INTERVAL_S = 0.25
_WORTH_A_CHANGE = 0.03
_STILL_INTERVAL_S = 2.0
_MEASURE_FOR_S = 0.5


class Rung(Protocol):
    """A rung as the conductor sees it."""

    @property
    def hub(self) -> VideoHub:
        """Where its frames come out."""

    @property
    def problem(self) -> str | None:
        """Why it cannot be had, if it cannot."""

    def set_rate(self, rate: RungRate) -> None:
        """Encode at `rate` from now on."""


class Conductor:
    """Owns how viewers and rungs come together.

    `low_size` is None where there is no low rung. `now_s` is a monotonic clock.
    """

    def __init__(
        self,
        main: Rung,
        low: Rung,
        *,
        limits: RateLimits,
        main_size: RungSize,
        low_size: RungSize | None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rungs = {Place.MAIN: (main, main_size), Place.LOW: (low, low_size)}
        self._main, self._low = main, low
        self._limits = limits
        self._plan = Plan(main_size, low_size, floor_bps=limits.floor_bps)
        self._now_s = now_s
        self._viewers: dict[Sender, _Viewer] = {}
        self._set: dict[Place, int] = {}
        self._still_at_s = float("-inf")

    def expect(self) -> None:
        """Have a keyframe ready for somebody who is nearly connected, at the rate to begin with."""
        if not self._viewers:
            self._encode(Place.MAIN, self._start_bps())
        self._main.hub.expect()

    @contextmanager
    def served(self, sender: Sender) -> Iterator[None]:
        """Hand `sender` the frames of the rung that fits it, while the block runs."""
        viewer = _Viewer(
            Seat(sender, self._main.hub, self._low.hub),
            ViewerRate(self._limits, start_bps=self._start_bps(), now_s=self._now_s),
            sender,
            now_s=self._now_s,
        )
        self._viewers[sender] = viewer
        sender.follow(
            Followers(
                request_keyframe=partial(self._owe_keyframe, viewer),
                take_report=partial(self._hear, viewer, viewer.rate.take_report),
                take_flood=partial(self._hear, viewer, viewer.rate.take_flood),
                take_estimate=partial(self._hear, viewer, viewer.rate.take_estimate),
            )
        )
        self.adapt()
        try:
            with viewer.seat.taken():
                yield
        finally:
            del self._viewers[sender]
            self.adapt()

    async def run(self) -> NoReturn:
        """Adapt now and then, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_INTERVAL_S)
            self.adapt()

    def adapt(self) -> None:
        """Place everybody, and let the rungs have the rates that follow from that."""
        now_s = self._now_s()
        viewers = list(self._viewers.values())
        for viewer in viewers:
            viewer.measure(now_s)
            viewer.watcher.target_bps = viewer.rate.target_bps
            viewer.watcher.is_flooded = viewer.rate.is_flooded
        if self._low.problem is None:
            self._plan.place([one.watcher for one in viewers], now_s=now_s)
        for viewer in viewers:
            self._seat(viewer)
            self._request_owed_keyframe(viewer)
            viewer.note(self._why(viewer))
        rates = self._plan.rates([viewer.watcher for viewer in viewers])
        self._encode(Place.MAIN, rates.main_bps)
        self._encode(Place.LOW, rates.low_bps)
        for viewer in viewers:
            self._probe(viewer, viewers)
        self._make_stills(viewers, now_s)

    def _start_bps(self) -> int:
        """Begin with what others watch already: they shall not notice that somebody joins."""
        if not any(one.watcher.place is Place.MAIN for one in self._viewers.values()):
            return self._limits.start_bps
        return max(self._limits.start_bps, self._set.get(Place.MAIN, 0))

    def _hear(self, viewer: "_Viewer", take: Callable[[T], None], news: T) -> None:
        """Let a viewer's rate `take` what that viewer just said; follow it at once if it is bad."""
        before_bps = viewer.rate.target_bps
        take(news)
        if viewer.rate.target_bps < (1 - _WORTH_A_CHANGE) * before_bps:
            self.adapt()

    def _owe_keyframe(self, viewer: "_Viewer") -> None:
        """Let a viewer have a keyframe: at once, or when its turn comes if others have to pay for it."""
        viewer.owed_after_keyframes = viewer.sender.tally.keyframes
        self._request_owed_keyframe(viewer)

    def _request_owed_keyframe(self, viewer: "_Viewer") -> None:
        if viewer.owed_after_keyframes is None:
            return
        if viewer.sender.tally.keyframes > viewer.owed_after_keyframes:
            viewer.owed_after_keyframes = None
            return
        is_main = viewer.seat.place is Place.MAIN
        others = (one for one in self._viewers.values() if one is not viewer)
        is_shared = any((one.seat.place is Place.MAIN) is is_main for one in others)
        if not is_shared or viewer.allowance.spend():
            viewer.owed_after_keyframes = None
            viewer.seat.request_keyframe()

    def _seat(self, viewer: "_Viewer") -> None:
        if self._low.problem is not None:
            viewer.watcher.place = Place.MAIN
        place = viewer.watcher.place
        if place is not viewer.seat.place:
            bps, why = viewer.rate.target_bps, self._why(viewer)
            log.info("viewer.moved", rung=place.value, bps=bps, why=why)
            viewer.seat.move(place, lets_go=viewer.rate.is_flooded)

    def _why(self, viewer: "_Viewer") -> str:
        is_wish = viewer.watcher.place is Place.LOW and self._plan.wants_little(viewer.watcher)
        return "the viewer's wish" if is_wish else viewer.rate.why

    def _encode(self, place: Place, bitrate_bps: int | None) -> None:
        rung, size = self._rungs[place]
        if bitrate_bps is None or size is None:
            return
        set_bps = self._set.get(place, 0)
        is_little = abs(bitrate_bps - set_bps) < _WORTH_A_CHANGE * set_bps
        if bitrate_bps == set_bps or (is_little and bitrate_bps < size.ceiling_bps):
            return
        self._set[place] = bitrate_bps
        rung.set_rate(RungRate(bitrate_bps, size.frame_rate(bitrate_bps)))

    def _probe(self, viewer: "_Viewer", viewers: "list[_Viewer]") -> None:
        """Let a viewer on a lower place prove that its way takes more."""
        place, wanted_bps = viewer.watcher.place, 0
        if place is Place.MAIN:
            viewer.probing.is_over()
        elif place is Place.STILLS:
            if viewer.probing.is_due:
                # The low rung is little enough to be tried with.
                viewer.probing.failed()
                viewer.rate.try_at(math.ceil(BACK * self._plan.needed_for_low))
                viewer.watcher.place, viewer.watcher.moved_at_s = Place.LOW, self._now_s()
        else:
            watchers = [one.watcher for one in viewers]
            needed_bps = self._plan.needed_for_main(viewer.watcher, watchers)
            if math.isfinite(needed_bps):
                wanted_bps = viewer.probing.wanted_bps(BACK * needed_bps)
        padding_bps = max(0, wanted_bps - self._set.get(Place.LOW, 0))
        size = self._rungs[Place.LOW][1]
        frames_per_s = size.frame_rate(self._set.get(Place.LOW, 0)) if size else 1
        viewer.sender.padding_per_frame_bytes = padding_bps // (8 * frames_per_s)

    def _make_stills(self, viewers: "list[_Viewer]", now_s: float) -> None:
        """Ask for a keyframe now and then while somebody sees nothing else."""
        if not any(viewer.watcher.place is Place.STILLS for viewer in viewers):
            return
        if now_s - self._still_at_s >= _STILL_INTERVAL_S:
            self._still_at_s = now_s
            self._low.hub.request_keyframe()


class _Viewer:
    """One viewer, as it is seated and rated."""

    def __init__(
        self, seat: Seat, rate: ViewerRate, sender: Sender, *, now_s: Callable[[], float]
    ) -> None:
        self.seat = seat
        self.rate = rate
        self.sender = sender
        self.watcher = Watcher(rate.target_bps, sender.ceiling_bps or math.inf)
        self.probing = Probing(rate, now_s=now_s)
        self.allowance = KeyframeAllowance(now_s=now_s)
        self.owed_after_keyframes: int | None = None
        self._measured_at_s, self._measured_bytes = now_s(), 0

    def measure(self, now_s: float) -> None:
        """Tell the rate how much goes out; on average over half a second."""
        took_s = now_s - self._measured_at_s
        if took_s < _MEASURE_FOR_S:
            return
        tally = self.sender.tally
        sent_bytes = tally.payload_bytes + tally.padding_bytes
        self.rate.sending_bps = round(8 * (sent_bytes - self._measured_bytes) / took_s)
        self._measured_at_s, self._measured_bytes = now_s, sent_bytes

    def note(self, why: str) -> None:
        """Write down where the viewer is, for who asks."""
        tally = self.sender.tally
        tally.rung, tally.rate_bps = self.seat.place.value, self.rate.target_bps
        tally.rate_why = why

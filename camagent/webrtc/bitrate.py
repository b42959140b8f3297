"""What rate a viewer's way takes, from what that viewer reports. Pure.

    REMB        the viewer's own estimate: a bound, with room left for retransmissions
    loss        much of it, or some while packets queue: less
    round trip  grows while packets queue: less, before they are lost
    otherwise   more, quickly while nothing has gone wrong yet

A way that is narrow shows by its queue; one that loses packets at random does not queue, and
sending less would not help it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from camagent.webrtc.reception import Report

_OF_THE_ESTIMATE = 0.85
"""What of a viewer's estimate is used; the rest is for retransmissions, and for the queue to empty."""

_ESTIMATE_HOLDS_S = 4.0
_LEAST_CREDIBLE_BPS = 10_000
_FIRST_GROWTH, _GROWTH = 1.5, 1.12
_CAUTIOUS_FOR_S = 6.0
_BETWEEN_GROWTH_S = 0.8

_HEAVY_LOSS, _LOSS = 0.2, 0.04
_QUEUE_S, _LONG_QUEUE_S = 0.03, 0.12
_QUEUE_CUT = 0.85
_LONGEST_CUT = 0.5
_ROUND_TRIP_MEMORY_S = 30.0


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """Bounds, in bits per second."""

    floor_bps: int
    start_bps: int
    ceiling_bps: int


class ViewerRate:
    """The rate that one viewer is believed to take. `now_s` is a monotonic clock.

    Attributes:
        target_bps: what to send it, retransmissions apart.
        why: what set it last, for people.
    """

    def __init__(self, limits: RateLimits, *, start_bps: int, now_s: Callable[[], float]) -> None:
        self._limits = limits
        self._now_s = now_s
        self._target_bps = float(min(start_bps, limits.ceiling_bps))
        self._estimate_bps = math.inf
        self._estimated_at_s = -math.inf
        self._cut_at_s = -math.inf
        self._grown_at_s = now_s()
        self._shortest_s = math.inf
        self._shortest_at_s = -math.inf
        self.why = "start"

    @property
    def target_bps(self) -> int:
        """What to send it, retransmissions apart."""
        return round(self._target_bps)

    def take_estimate(self, bandwidth_bps: int) -> None:
        """Take the viewer's estimate of what it can receive (REMB); an absurd one is none."""
        if bandwidth_bps < _LEAST_CREDIBLE_BPS:
            return
        now_s = self._now_s()
        self._estimate_bps, self._estimated_at_s = float(bandwidth_bps), now_s
        bound_bps = _OF_THE_ESTIMATE * bandwidth_bps
        if bound_bps < self._target_bps:
            self._cut(bound_bps / self._target_bps, "the viewer's estimate")

    def take_report(self, report: Report) -> None:
        """Take a receiver report."""
        queue_s = self._queue_s(report.latest_round_trip_s)
        loss = report.fraction_lost
        if loss > _HEAVY_LOSS or (loss > _LOSS and queue_s > _QUEUE_S):
            self._cut(max(_LONGEST_CUT, 1 - loss), f"{loss:.0%} loss")
        elif queue_s > _LONG_QUEUE_S:
            self._cut(_QUEUE_CUT, f"{queue_s * 1000:.0f} ms of queue")
        elif queue_s <= _QUEUE_S:
            self._grow()

    def _grow(self) -> None:
        now_s = self._now_s()
        if now_s - self._grown_at_s < _BETWEEN_GROWTH_S:
            return
        self._grown_at_s = now_s
        is_cautious = now_s - self._cut_at_s < _CAUTIOUS_FOR_S
        grown_bps = self._target_bps * (_GROWTH if is_cautious else _FIRST_GROWTH)
        bound_bps = float(self._limits.ceiling_bps)
        if now_s - self._estimated_at_s < _ESTIMATE_HOLDS_S:
            bound_bps = min(bound_bps, _OF_THE_ESTIMATE * self._estimate_bps)
        if min(grown_bps, bound_bps) > self._target_bps:
            self._target_bps = min(grown_bps, bound_bps)
            self.why = "the ceiling" if self._is_at_the_ceiling else "growing"

    def _cut(self, factor: float, why: str) -> None:
        self._cut_at_s = self._now_s()
        self._target_bps = max(self._limits.floor_bps, self._target_bps * factor)
        self.why = why

    def _queue_s(self, round_trip_s: float | None) -> float:
        """Give how much longer than it could be a round trip takes."""
        if round_trip_s is None:
            return 0.0
        now_s = self._now_s()
        is_old = now_s - self._shortest_at_s > _ROUND_TRIP_MEMORY_S
        if round_trip_s < self._shortest_s or is_old:
            self._shortest_s, self._shortest_at_s = round_trip_s, now_s
        return round_trip_s - self._shortest_s

    @property
    def _is_at_the_ceiling(self) -> bool:
        return self._target_bps >= self._limits.ceiling_bps

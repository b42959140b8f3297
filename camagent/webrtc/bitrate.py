"""What rate a viewer's way takes, from what that viewer reports. Pure.

    REMB        the viewer's own estimate. Falling: a bound, with room left for retransmissions.
                Rising it lags behind, by design, so that it is a bound only at a distance
    loss        much of it, or some while packets queue: less
    round trip  grows while packets queue: less, before they are lost
    flood       most of what was sent is missed at once: what arrives is what the way takes
    otherwise   more, quickly while nothing has gone wrong yet

A way that is narrow shows by its queue; one that loses packets at random does not queue, and
sending less would not help it.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from camagent.webrtc.reception import Report

LEAST_BPS = 10_000
"""No way is believed to be worse, and no estimate below it is believed."""

_OF_THE_ESTIMATE = 0.95
"""What of a falling estimate is used, which is below what arrives already: the queue empties."""

_BEYOND_THE_ESTIMATE = 4.0
_LAGS_BELOW = 0.7
_CALM_AFTER_S = 3.0
_ESTIMATE_HOLDS_S = 4.0
_PRESSED_FOR_S = 3.0
"""For so long after a fall an estimate is a bound."""

_TRY_FOR_S = 4.0
_FIRST_GROWTH = 1.5
_GROWTH = ((0.8, 1.25), (1.15, 1.06), (1.6, 1.12), (math.inf, 1.35))
"""By how much it grows up to which share of the rate where it went wrong last."""

_BETWEEN_GROWTH_S = 0.7
_BETWEEN_CUTS_S, _CUT_TELLS_AFTER_S = 0.7, 1.5
_UNPROVEN = 1.5
"""A way is believed to take so many times what is sent, no more, unless the viewer says so."""

_HEAVY_LOSS, _LOSS = 0.2, 0.06
_QUEUE_S, _LONG_QUEUE_S = 0.025, 0.06
"""Or half the shortest round trip, and all of it, if that is more: a long way is less even."""

_QUEUE_FOR_S = 0.4
"""A keyframe queues for less; only what lasts is a rate too high."""

_QUEUE_CUT = 0.85
_LONGEST_CUT, _LONGEST_CUT_IN_FLOOD = 0.3, 0.15
_FLOODED_FOR_S = 2.0
_ROUND_TRIP_MEMORY_S = 30.0
_LOSS_WINDOW_S, _LONGEST_LOSS_WINDOW_S = 0.5, 2.5
_LOSS_WINDOW_PACKETS = 20


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """Bounds of what is encoded, in bits per second."""

    floor_bps: int
    start_bps: int
    ceiling_bps: int


class ViewerRate:
    """The rate that one viewer is believed to take. `now_s` is a monotonic clock.

    Attributes:
        sending_bps: what it was sent of late: who is sent little proves little.
        why: what set the target last, for people.
    """

    def __init__(self, limits: RateLimits, *, start_bps: int, now_s: Callable[[], float]) -> None:
        self._ceiling_bps = limits.ceiling_bps
        self._now_s = now_s
        self._target_bps = float(min(start_bps, limits.ceiling_bps))
        self.sending_bps = round(self._target_bps)
        self._estimate_bps = math.inf
        self._estimated_at_s = -math.inf
        self._pressed_at_s = -math.inf
        self._tried_until_s = -math.inf
        self._cut_at_s = -math.inf
        self._flooded_at_s = -math.inf
        self._grown_at_s = now_s()
        self._trouble_bps = math.inf
        self._shortest_s = math.inf
        self._shortest_at_s = -math.inf
        self._queues: deque[tuple[float, float]] = deque()
        self._loss = _LossWindow(since_s=now_s())
        self.why = "start"

    @property
    def target_bps(self) -> int:
        """What to send it, retransmissions apart."""
        return round(self._target_bps)

    @property
    def steady_for_s(self) -> float:
        """Since when nothing has gone wrong."""
        return self._now_s() - max(self._cut_at_s, self._pressed_at_s)

    @property
    def is_flooded(self) -> bool:
        """True if it was sent much more than its way takes just now."""
        return self._now_s() - self._flooded_at_s < _FLOODED_FOR_S

    def take_estimate(self, bandwidth_bps: int) -> None:
        """Take the viewer's estimate of what it can receive (REMB); an absurd one is none."""
        if bandwidth_bps < LEAST_BPS:
            return
        now_s, before_bps = self._now_s(), self._estimate_bps
        self._estimate_bps, self._estimated_at_s = float(bandwidth_bps), now_s
        bound_bps = _OF_THE_ESTIMATE * bandwidth_bps
        is_calm = now_s - self._cut_at_s > _CALM_AFTER_S
        if is_calm and before_bps < _LAGS_BELOW * self.sending_bps:
            # More arrived than it had noticed: that it falls is news, how low it is is not.
            bound_bps = max(bound_bps, _QUEUE_CUT * self.sending_bps * bandwidth_bps / before_bps)
        # The first one has nothing to fall from: it tells only how much arrived.
        is_fall = bandwidth_bps < before_bps and math.isfinite(before_bps)
        is_far_off = _BEYOND_THE_ESTIMATE * bandwidth_bps < self._target_bps
        if now_s < self._tried_until_s:
            is_far_off = False
        if is_fall or is_far_off:
            self._pressed_at_s = now_s
            if bound_bps < self._target_bps:
                self._cut_to(bound_bps, "the viewer's estimate")

    def take_report(self, report: Report) -> None:
        """Take a receiver report."""
        queue_s = self._queue_s(report.latest_round_trip_s)
        lasting_s = min(queue_s for _, queue_s in self._queues) if self._is_queue_known else 0.0
        loss = self._loss.take(report)
        is_lost = loss > _HEAVY_LOSS or (loss > _LOSS and lasting_s > self._short_s)
        if is_lost or lasting_s > self._long_s:
            if self._now_s() - self._cut_at_s < _BETWEEN_CUTS_S:
                return
            # Of what was sent, which may be more than the target while others share the rung.
            least_bps = _LONGEST_CUT * self._target_bps
            if is_lost:
                arriving_bps = self.sending_bps * (1 - loss)
                self._cut_to(max(least_bps, arriving_bps), f"{loss:.0%} loss")
            else:
                bound_bps = max(least_bps, _QUEUE_CUT * self._filling_bps)
                self._cut_to(bound_bps, f"{lasting_s * 1000:.0f} ms of queue")
        elif queue_s is not None and queue_s <= self._short_s and self._is_clear:
            self._grow()

    def take_flood(self, share: float) -> None:
        """Take that so much of what was sent of late did not arrive."""
        now_s = self._now_s()
        if now_s - self._flooded_at_s < _BETWEEN_CUTS_S:
            return
        self._flooded_at_s = now_s
        least_bps = _LONGEST_CUT_IN_FLOOD * self._target_bps
        arriving_bps = _QUEUE_CUT * self.sending_bps * (1 - share)
        self._cut_to(max(least_bps, arriving_bps), f"{share:.0%} missed")
        # Reports will tell of it too, later.
        self._loss = _LossWindow(since_s=now_s, is_told=True)

    def try_at(self, rate_bps: int) -> None:
        """Believe, for a try, that the way takes so much."""
        self._target_bps = max(self._target_bps, float(rate_bps))
        # What the viewer says of little that it was sent says nothing of more.
        self._estimate_bps = math.inf
        self._tried_until_s = self._now_s() + _TRY_FOR_S
        self.why = "a try"

    @property
    def _filling_bps(self) -> float:
        """What fills a queue: what is sent; if a cut did not end it, what is left of the target."""
        was_cut = self._now_s() - self._cut_at_s < _CUT_TELLS_AFTER_S
        return min(self._target_bps, self.sending_bps) if was_cut else self.sending_bps

    def _grow(self) -> None:
        now_s = self._now_s()
        if now_s - self._grown_at_s < _BETWEEN_GROWTH_S:
            return
        self._grown_at_s = now_s
        grown_bps = self._target_bps * self._growth()
        bound_bps = min(float(self._ceiling_bps), self._proven_bps(now_s))
        if min(grown_bps, bound_bps) > self._target_bps:
            self._target_bps = min(grown_bps, bound_bps)
            self.why = "the ceiling" if self._target_bps >= self._ceiling_bps else "growing"

    def _growth(self) -> float:
        if math.isinf(self._cut_at_s):
            return _FIRST_GROWTH
        share = self._target_bps / self._trouble_bps
        return next(growth for up_to, growth in _GROWTH if share <= up_to)

    def _proven_bps(self, now_s: float) -> float:
        """Give the most that may be believed by what the viewer says, and by what it is sent."""
        sent_bps = _UNPROVEN * self.sending_bps
        if now_s - self._estimated_at_s > _ESTIMATE_HOLDS_S:
            return sent_bps
        is_pressed = now_s - self._pressed_at_s < _PRESSED_FOR_S
        if is_pressed:
            return _OF_THE_ESTIMATE * self._estimate_bps
        return max(
            _OF_THE_ESTIMATE * self._estimate_bps,
            min(sent_bps, _BEYOND_THE_ESTIMATE * self._estimate_bps),
        )

    def _cut_to(self, rate_bps: float, why: str) -> None:
        self._cut_at_s = self._now_s()
        self._target_bps = max(float(LEAST_BPS), min(self._target_bps, rate_bps))
        self._trouble_bps = self._target_bps / _QUEUE_CUT
        self.why = why

    def _queue_s(self, round_trip_s: float | None) -> float | None:
        """Give how much longer than it could be a round trip takes; None if nothing new is known.

        A viewer that never tells is taken to have no queue.
        """
        if round_trip_s is None:
            return None if self._queues else 0.0
        now_s = self._now_s()
        is_old = now_s - self._shortest_at_s > _ROUND_TRIP_MEMORY_S
        if round_trip_s < self._shortest_s or is_old:
            self._shortest_s, self._shortest_at_s = round_trip_s, now_s
        self._queues.append((now_s, round_trip_s - self._shortest_s))
        while len(self._queues) > 1 and self._queues[1][0] <= now_s - _QUEUE_FOR_S:
            self._queues.popleft()
        return round_trip_s - self._shortest_s

    @property
    def _short_s(self) -> float:
        """How long a queue may be that is none."""
        return max(_QUEUE_S, self._shortest_s / 2 if self._queues else 0.0)

    @property
    def _long_s(self) -> float:
        """How long a queue is that is too long."""
        return max(_LONG_QUEUE_S, self._shortest_s if self._queues else 0.0)

    @property
    def _is_clear(self) -> bool:
        """True if nothing queued for long, even for a moment, and little was lost."""
        longest_s = max((queue_s for _, queue_s in self._queues), default=0.0)
        return longest_s <= self._long_s and self._loss.latest <= _HEAVY_LOSS

    @property
    def _is_queue_known(self) -> bool:
        """True if the queue's length is known for a while."""
        return bool(self._queues) and self._queues[-1][0] - self._queues[0][0] >= _QUEUE_FOR_S


class _LossWindow:
    """Loss over a while and some packets: a report may tell of three packets only.

    `is_told`: what is lost by the first report is known already.

    Attributes:
        latest: the share lost in the window before.
    """

    def __init__(self, *, since_s: float, is_told: bool = False) -> None:
        self._since_s = since_s
        self._is_told = is_told
        self._highest: int | None = None
        self._lost = 0
        self.latest = 0.0

    def take(self, report: Report) -> float:
        """Give the share lost since the window began, if it is over with this report, or else 0."""
        if self._highest is None:
            is_much = report.packets_lost >= _LOSS_WINDOW_PACKETS // 2 and not self._is_told
            self._begin(report, report.fraction_lost if is_much else 0.0)
            return self.latest
        packets, lost = report.highest_sequence - self._highest, report.packets_lost - self._lost
        lasts_s = report.at_s - self._since_s
        is_enough = packets >= _LOSS_WINDOW_PACKETS and lasts_s >= _LOSS_WINDOW_S
        if not is_enough and lasts_s < _LONGEST_LOSS_WINDOW_S:
            return 0.0
        self._begin(report, min(1.0, max(0.0, lost / packets)) if packets > 0 else 0.0)
        return self.latest

    def _begin(self, report: Report, loss: float) -> None:
        self._since_s = report.at_s
        self._highest, self._lost = report.highest_sequence, report.packets_lost
        self.latest = loss

"""When a viewer that is sent little is tried with more, to learn what its way takes. Pure.

Who watches the low rung cannot prove that it could take the main one. So now and then what it was
sent goes out again beside it, more and more of it, until the viewer's estimate has followed far
enough, or something goes wrong. After each failure the next try is twice as far off.
"""

from collections.abc import Callable

from camagent.webrtc.bitrate import ViewerRate

_STEADY_FOR_S = 4.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 8.0, 120.0
_LONGEST_S = 20.0
_STEP = 1.3
_ENOUGH = 1.05


class Probing:
    """One viewer's tries. `now_s` is a monotonic clock."""

    def __init__(self, rate: ViewerRate, *, now_s: Callable[[], float]) -> None:
        self._rate = rate
        self._now_s = now_s
        self._pause_s = _FIRST_PAUSE_S
        self._due_at_s = now_s() + _FIRST_PAUSE_S
        self._began_at_s: float | None = None

    @property
    def is_due(self) -> bool:
        """True if it is time to try, and nothing went wrong of late."""
        return self._now_s() >= self._due_at_s and self._rate.steady_for_s >= _STEADY_FOR_S

    def wanted_bps(self, needed_bps: float) -> int:
        """Give what to send the viewer in all, so that it may prove to take `needed_bps`; or 0."""
        now_s = self._now_s()
        if self._began_at_s is None:
            if not self.is_due:
                return 0
            self._began_at_s = now_s
        lasts_s = now_s - self._began_at_s
        if self._rate.steady_for_s < lasts_s or lasts_s > _LONGEST_S:
            self.failed()
            return 0
        return round(min(_STEP * self._rate.target_bps, _ENOUGH * needed_bps))

    def failed(self) -> None:
        """Wait twice as long as last time."""
        self._began_at_s = None
        self._due_at_s = self._now_s() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def is_over(self) -> None:
        """Stop: there is nothing to prove now."""
        if self._began_at_s is not None:
            self._began_at_s = None
            self._due_at_s = self._now_s() + self._pause_s

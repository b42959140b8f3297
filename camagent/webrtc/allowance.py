"""How many keyframes one viewer may have made while others watch the same rung. Pure.

Each of them takes bits from everybody's picture. A few at once are a bad moment of its network; who
asks for them all the time gets one now and then.
"""

from collections.abc import Callable

_AT_ONCE = 6.0
_PER_S = 0.5
_BETWEEN_S = 0.5


class KeyframeAllowance:
    """What one viewer has left. `now_s` is a monotonic clock."""

    def __init__(self, *, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._left = _AT_ONCE
        self._counted_at_s = now_s()
        self._spent_at_s = float("-inf")

    def spend(self) -> bool:
        """Spend one keyframe; false if there is none left, or the last one was only just now."""
        now_s = self._now_s()
        self._left = min(_AT_ONCE, self._left + _PER_S * (now_s - self._counted_at_s))
        self._counted_at_s = now_s
        if self._left < 1 or now_s - self._spent_at_s < _BETWEEN_S:
            return False
        self._left -= 1
        self._spent_at_s = now_s
        return True

"""When the next picture is due."""

import math
import time
from collections.abc import Callable


class Pace:
    """Even deadlines: lateness is not made up for, and never adds up."""

    def __init__(
        self, frames_per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._interval_s = 1 / frames_per_second
        self._due_at_s = clock()

    def until_next_s(self) -> float:
        """Move on to the next deadline that is still to come; return the seconds until then."""
        now_s = self._clock()
        missed = math.floor((now_s - self._due_at_s) / self._interval_s)
        self._due_at_s += self._interval_s * max(1, missed + 1)
        return self._due_at_s - now_s

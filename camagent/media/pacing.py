"""When the next picture is due."""

import math
import time


class Pace:
    """Even deadlines on the monotonic clock: lateness is not made up for, and never adds up."""

    def __init__(self, frames_per_second: float) -> None:
        self._interval_s = 1 / frames_per_second
        self._due_at_s = time.monotonic()

    def until_next_s(self) -> float:
        """Move on to the next deadline that is still to come; return the seconds until then."""
        now_s = time.monotonic()
        missed = math.floor((now_s - self._due_at_s) / self._interval_s)
        self._due_at_s += self._interval_s * max(1, missed + 1)
        return self._due_at_s - now_s

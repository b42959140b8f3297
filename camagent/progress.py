"""Whether a part that runs for ever still moves, for the watchdog to know."""

import math
import time
from collections.abc import Callable

_SLACK_S = 5.0
"""A busy machine is late without being stuck."""


class Progress:
    """One part's promise, renewed with each of its steps, to take the next within some time."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due_at_s = math.inf

    def expect_within(self, seconds: float) -> None:
        """Promise the next step."""
        self._due_at_s = self._clock() + seconds + _SLACK_S

    def expect_nothing(self) -> None:
        """Rest: there is nothing to do until somebody asks."""
        self._due_at_s = math.inf

    @property
    def is_stuck(self) -> bool:
        """True once the promise is broken."""
        return self._clock() > self._due_at_s

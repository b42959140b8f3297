"""What goes wrong again and again: said aloud once, its repeats in a lower voice and in sums."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

_SUMMARY_INTERVAL_S = 600.0
_CAUSES_REMEMBERED = 16


class Trouble:
    """The trouble of one part, from its first failure until it is over.

    A cause is told at warning when it is new, and at debug when it comes again. As long as the
    trouble lasts, a warning each ten minutes sums up. `clock` gives monotonic seconds: a wall clock
    may jump by years on a Pi that has just started.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._causes: set[str] = set()
        self._times = 0
        self._since_s = self._summed_up_at_s = 0.0
        self.cause: str | None = None
        """The newest one, while there is trouble."""

    def tell(self, event: str, cause: str, **data: object) -> None:
        """Log `event`, which happened because of `cause`."""
        now_s = self._clock()
        if not self._times:
            self._since_s = self._summed_up_at_s = now_s
        self._times += 1
        self.cause = cause
        if now_s - self._summed_up_at_s >= _SUMMARY_INTERVAL_S:
            self._summed_up_at_s = now_s
            for_s = round(now_s - self._since_s)
            log.warning(event, cause=cause, times=self._times, for_s=for_s, **data)
        elif cause not in self._causes and len(self._causes) < _CAUSES_REMEMBERED:
            self._causes.add(cause)
            log.warning(event, cause=cause, **data)
        else:
            log.debug(event, cause=cause, **data)

    def is_over(self) -> None:
        """Take whatever comes next for news."""
        self._causes.clear()
        self._times = 0
        self.cause = None

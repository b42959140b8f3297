"""What is held against a camera since it last gave frames, and when it is tried again because of it."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator

from camagent.errors import CameraError
from camagent.trouble import Trouble

_REOPEN_GRACE_S, _REOPEN_DELAY_S = 15.0, 1.0
"""A source that ceased is tried again for so long before its viewers are sent away, and so often."""

Look = Callable[[], Awaitable[None]]
"""Finds out whether a camera can serve, without opening it in this process; else a CameraError."""


class Setback:
    """One camera's failures and suspicions. `retry_delays` gives the delays between attempts.

    Attributes:
        error: the newest of either, until frames come.
    """

    def __init__(self, retry_delays: Callable[[], Iterator[float]]) -> None:
        self.error: CameraError | None = None
        self._trouble = Trouble()
        self._retry_delays = retry_delays
        self._delays = retry_delays()
        self._stalled_at_s = -math.inf
        self._look: Look | None = None
        self._look_interval_s = 0.0

    @property
    def has_stalled(self) -> bool:
        """True if the camera gave frames, and has not done so since it ceased to."""
        return math.isfinite(self._stalled_at_s)

    def stalled(self) -> None:
        """Note that no frames come of a camera which gave some."""
        self._stalled_at_s = asyncio.get_running_loop().time()

    def failed(self, error: CameraError) -> tuple[float, bool]:
        """Note why the camera cannot serve.

        Returns:
            How many seconds to wait before the next attempt, and whether the failure may pass soon.
        """
        stalled_for_s = asyncio.get_running_loop().time() - self._stalled_at_s
        may_pass_soon = stalled_for_s < _REOPEN_GRACE_S
        delay_s = min(next(self._delays), _REOPEN_DELAY_S if may_pass_soon else math.inf)
        self._trouble.tell("capture.failed", str(error), retry_in_s=round(delay_s, 1))
        self.error = error
        return delay_s, may_pass_soon

    def suspect(self, problem: str, look: Look | None, interval_s: float) -> None:
        """Note `problem` of a camera that was not opened; `look` tells whether it is over."""
        self._trouble.tell("capture.suspected", problem)
        self.error = CameraError(problem)
        self._look, self._look_interval_s = look, interval_s

    @property
    def look_interval_s(self) -> float | None:
        """When `look_again` is due, in seconds from now on; None while it would find out nothing."""
        return self._look_interval_s if self._look is not None else None

    async def look_again(self) -> None:
        """Take back what is suspected, or suspect what is found now."""
        assert self._look is not None, "asked for by look_interval_s"
        try:
            await self._look()
        except CameraError as error:
            self.suspect(str(error), self._look, self._look_interval_s)
        else:
            self.is_over()

    def is_over(self) -> None:
        """Hold nothing against it any more."""
        self.error = self._look = None
        self._stalled_at_s = -math.inf
        self._trouble.is_over()
        self._delays = self._retry_delays()

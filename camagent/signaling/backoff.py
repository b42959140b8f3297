"""How long to wait before the next attempt."""

import random
from collections.abc import Callable, Iterator


def backoff(
    *,
    first_s: float = 1.0,
    longest_s: float = 60.0,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Iterator[float]:
    """Yield delays in seconds: doubling ceilings, each delay drawn from [0, ceiling].

    Full jitter keeps a fleet from reconnecting in step after a server restart.
    """
    ceiling_s = min(first_s, longest_s)
    while True:
        yield jitter(0, ceiling_s)
        ceiling_s = min(ceiling_s * 2, longest_s)


class RetryDelays:
    """The delays of one link: they grow from attempt to attempt, until `start_again`.

    A server that vanished took a whole fleet with it, which must not meet it in step when it is
    back: then the first attempt is anywhere within half of the longest delay. Who lost the server
    alone, by its own network, or was told goodbye, does not wait for others.
    """

    def __init__(
        self,
        *,
        first_s: float,
        longest_s: float,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._jitter = jitter
        self.start_again()

    def start_again(self) -> None:
        """Begin with the shortest delay: the server held for a while."""
        self._delays = self._growing(self._first_s)

    def next_s(self) -> float:
        """Draw how long to wait now."""
        return next(self._delays)

    def next_after_vanishing_s(self) -> float:
        """Draw how long to wait now that the server vanished."""
        spread_s = self._longest_s / 2
        self._delays = self._growing(spread_s)
        return self._jitter(0, spread_s)

    def _growing(self, first_s: float) -> Iterator[float]:
        return backoff(first_s=first_s, longest_s=self._longest_s, jitter=self._jitter)

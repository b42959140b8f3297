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

"""How much anybody may do: rates and counts per key, in bounded memory. Knows nothing of the relay.

A key is whatever a limit is kept for: an address, a user, a device.
"""

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Protocol, TypeAlias

_MOST_KEYS = 100_000


class RateLimit(Protocol):
    """A rate per key, in this process or shared between several."""

    async def wait_s(self, key: str) -> float:
        """Take one for `key`: 0.0 if there was one, else the seconds until there is."""


class TokenBucket:
    """What may be done `at_once`, and `per_second` in the long run."""

    __slots__ = ("_at_once", "_filled_at_s", "_per_second", "_tokens")

    def __init__(self, *, per_second: float, at_once: int, now_s: float) -> None:
        self._per_second = per_second
        self._at_once = float(at_once)
        self._tokens = self._at_once
        self._filled_at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Take one: 0.0 if there was one, else the seconds until there is."""
        gained = (now_s - self._filled_at_s) * self._per_second
        self._tokens = min(self._tokens + gained, self._at_once)
        self._filled_at_s = now_s
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0


class TokenBuckets:
    """A `RateLimit` in this process. `per_second` of 0 limits nothing.

    Beyond `most_keys` the key that asked longest ago is forgotten, and has its whole burst again.
    """

    def __init__(
        self,
        *,
        per_second: float,
        at_once: int,
        most_keys: int = _MOST_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_second = per_second
        self.at_once = at_once
        self._most_keys = most_keys
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    async def wait_s(self, key: str) -> float:
        """See `RateLimit`."""
        if not self.per_second:
            return 0.0
        now_s = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = TokenBucket(per_second=self.per_second, at_once=self.at_once, now_s=now_s)
            self._buckets[key] = bucket
            if len(self._buckets) > self._most_keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket.wait_s(now_s)


Sharing: TypeAlias = Callable[[str, TokenBuckets], RateLimit]
"""Gives what counts for every instance of a relay, by its name and what counts for this one."""


def keep_local(_name: str, local: TokenBuckets) -> RateLimit:
    """See `Sharing`: there is no other instance."""
    return local


class Tally:
    """How many there are at a time of each key. `most` of 0 limits nothing."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._present: defaultdict[str, int] = defaultdict(int)

    def __len__(self) -> int:
        return len(self._present)

    def is_full(self, key: str) -> bool:
        """Tell whether there may be no more of `key`."""
        return 0 < self._most <= self._present.get(key, 0)

    def add(self, key: str) -> None:
        """Count one more."""
        self._present[key] += 1

    def remove(self, key: str) -> None:
        """Count one less."""
        self._present[key] -= 1
        if self._present[key] <= 0:
            del self._present[key]

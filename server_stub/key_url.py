"""Keys behind a URL, as identity providers publish them (a JWK set, RFC 7517).

Kept in memory and asked for anew now and then, and for a token whose key is unknown: at most once
in a while, however many such tokens come. While the URL is away the old keys go on working.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
import structlog

from server_stub.keys import Key, KeysAway, KeyUnusable, keys_of_set

log = structlog.get_logger(__name__)

_FRESH_FOR_S = 600.0
_PAUSE_S = 30.0
_DEADLINE_S = 5.0
_MOST_BYTES = 256 * 1024


class FetchedKeys:
    """The keys that `fetch` last gave; it is called every `fresh_for_s`, and never within `pause_s`.

    `fetch` raises OSError, TimeoutError, aiohttp.ClientError or KeyUnusable if it cannot.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[list[Key]]],
        *,
        fresh_for_s: float = _FRESH_FOR_S,
        pause_s: float = _PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._fresh_for_s = fresh_for_s
        self._pause_s = pause_s
        self._clock = clock
        self._keys: list[Key] = []
        self._asked_at_s = -float("inf")
        self._is_away = True
        self._asking = asyncio.Lock()

    async def fitting(self, algorithm: str, key_id: str | None) -> Sequence[Key]:
        """See `KeySource`."""
        found = self._known(algorithm, key_id)
        if not found:
            await self.refresh()
            found = self._known(algorithm, key_id)
        if not found and self._is_away:
            raise KeysAway("the keys of viewers' tokens cannot be had")
        return found

    async def refresh(self) -> None:
        """Ask for the keys anew, unless that was done a moment ago."""
        async with self._asking:  # who waits here is served by the answer to another
            if self._clock() - self._asked_at_s < self._pause_s:
                return
            self._asked_at_s = self._clock()
            was_away, self._is_away = self._is_away, True
            try:
                keys = await self._fetch()
            except (aiohttp.ClientError, OSError, TimeoutError, KeyUnusable) as error:
                problem = str(error) or type(error).__name__
                log.warning("keys.away", problem=problem, kept=len(self._keys))
                return
            self._keys, self._is_away = keys, False
            if was_away:
                log.info("keys.fetched", keys=len(keys))

    async def keep_fresh(self) -> None:
        """Ask now and then, so that a key that is listed no longer stops working, until cancelled."""
        while True:
            await asyncio.sleep(self._pause_s if self._is_away else self._fresh_for_s)
            await self.refresh()

    def _known(self, algorithm: str, key_id: str | None) -> list[Key]:
        return [key for key in self._keys if key.may_fit(algorithm, key_id)]


@asynccontextmanager
async def keys_at(
    url: str, *, fresh_for_s: float = _FRESH_FOR_S, pause_s: float = _PAUSE_S
) -> AsyncIterator[FetchedKeys]:
    """Hold the keys at `url`, asked for once already; that it is away is no reason not to start."""
    # Unpacked bytes could not be counted before they are there.
    async with aiohttp.ClientSession(
        auto_decompress=False,
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=_DEADLINE_S),
        trust_env=True,
    ) as client:
        keys = FetchedKeys(lambda: _fetched(client, url), fresh_for_s=fresh_for_s, pause_s=pause_s)
        await keys.refresh()
        freshening = asyncio.create_task(keys.keep_fresh())
        try:
            yield keys
        finally:
            freshening.cancel()
            await asyncio.wait([freshening])


async def _fetched(client: aiohttp.ClientSession, url: str) -> list[Key]:
    # A redirection could lead to where anybody writes.
    async with client.get(url, allow_redirects=False) as answer:
        if answer.status != HTTPStatus.OK:
            raise KeyUnusable(f"the answer is {answer.status}")
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise KeyUnusable(f"more than {_MOST_BYTES} bytes")
    return keys_of_set(bytes(body))

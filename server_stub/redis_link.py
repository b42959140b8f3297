"""The one way of this process to Redis: commands in order, many in one round trip, never in the way.

While Redis is away every command is answered with `AWAY` at once, so that nobody waits for it; only
`probe` goes on trying. What may be said about that is said here, once each way.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server_stub.tasks import beside

log = structlog.get_logger(__name__)

AWAY: Final = object()
"""The answer to a command that Redis did not answer."""

NOW_MS: Final = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
"""
"""The beginning of a script that has to know the time, in Unix milliseconds: Redis' own."""

TROUBLE = (RedisError, OSError, TimeoutError)

_TIMEOUT_S = 2.0
_MOST_WAITING = 20_000
_MOST_WAITING_BYTES = 32 * 2**20
_MOST_AT_ONCE = 500

Command = tuple[Any, ...]


class RedisLink:
    """Made by `open_redis`."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._waiting: deque[tuple[Command, asyncio.Future[Any]]] = deque()
        self._unanswered_bytes = 0
        self._more = asyncio.Event()
        self._is_away = False
        self._back_at_s = time.monotonic()

    @property
    def is_away(self) -> bool:
        """True from the first command that failed until `back`."""
        return self._is_away

    @property
    def up_for_s(self) -> float:
        """How long Redis has been there without a break; 0 while it is away."""
        return 0.0 if self._is_away else time.monotonic() - self._back_at_s

    def tell(self, *command: Any) -> "asyncio.Future[Any]":
        """Have a command carried out after all those before it; the answer may be `AWAY`.

        So it is as well where too many wait, or too large ones.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        size_bytes = _size_of(command)
        is_full = (
            len(self._waiting) >= _MOST_WAITING
            or self._unanswered_bytes + size_bytes > _MOST_WAITING_BYTES
        )
        if self._is_away or is_full:
            answer.set_result(AWAY)
        else:
            self._unanswered_bytes += size_bytes
            self._waiting.append((command, answer))
            self._more.set()
        return answer

    async def probe(self, *commands: Command) -> list[Any] | None:
        """Try commands whether or not Redis is away; None if it did not carry them all out."""
        try:
            answers = await self._execute(commands)
        except TROUBLE as error:
            self.lost(error)
            return None
        for answer in answers:
            if isinstance(answer, Exception):
                self.lost(answer)
                return None
        return answers

    def subscribing(self) -> PubSub:
        """Make what listens to channels, over a connection of its own."""
        return self._redis.pubsub(ignore_subscribe_messages=True)

    def lost(self, error: BaseException) -> None:
        """Take Redis for away."""
        if not self._is_away:
            log.warning("redis.away", problem=str(error) or type(error).__name__)
        self._is_away = True

    def back(self) -> bool:
        """Take Redis for there; true if it was away."""
        was_away = self._is_away
        if was_away:
            self._is_away = False
            self._back_at_s = time.monotonic()
            log.info("redis.back")
        return was_away

    async def work(self) -> None:
        """Carry out what is told, until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                try:
                    await self._work_off()
                except TROUBLE as error:
                    self.lost(error)
                except Exception:
                    # What went wrong with these commands is nothing to those that follow.
                    log.exception("redis.failed")

    async def settle(self) -> None:
        """Wait until everything told so far is answered."""
        while self._waiting and not self._is_away:
            await asyncio.wait([self._waiting[-1][1]], timeout=_TIMEOUT_S)

    async def _work_off(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
        answers: list[Any] | None = None
        try:
            if not self._is_away:
                answers = await self._execute([command for command, _ in batch])
        finally:
            self._unanswered_bytes -= sum(_size_of(command) for command, _ in batch)
            for (_, future), answer in zip(batch, answers or [AWAY] * len(batch), strict=True):
                if isinstance(answer, Exception):
                    log.warning("redis.refused", problem=str(answer))
                if not future.done():
                    future.set_result(AWAY if isinstance(answer, Exception) else answer)

    async def _execute(self, commands: Sequence[Command]) -> list[Any]:
        """Carry commands out in one round trip; what Redis refuses has an exception as answer."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            # Bounded as a whole: redis has a limit for each read only.
            async with asyncio.timeout(2 * _TIMEOUT_S):
                return list(await pipeline.execute(raise_on_error=False))


def _size_of(command: Command) -> int:
    """Tell how much memory a command takes, roughly: a script is the same text each time."""
    return sum(map(sys.getsizeof, command))


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[RedisLink]:
    """Hold the way to the Redis at `url`, which need not be there."""
    redis = Redis.from_url(
        url,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    link = RedisLink(redis)
    try:
        async with beside(link.work()):
            yield link
    finally:
        await redis.aclose()

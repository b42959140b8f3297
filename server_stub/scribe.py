"""Writes down what happens, in order, as soon as the database lets it; nobody waits for that.

While the database is away the first record is tried again and again, and all others wait behind it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

import structlog
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError

log = structlog.get_logger(__name__)

Record: TypeAlias = Callable[[], Awaitable[object]]
"""Writes something down. It may be called again after a failure, of which the write may be no part."""

_MOST_WAITING = 10_000
_PAUSE_S = 1.0
_LAST_DEADLINE_S = 5.0
# What the database has against the record itself: the next time it would say the same.
_REFUSALS = (DataError, IntegrityError, ProgrammingError)


class Scribe:
    """Has a bounded number of records waiting."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Record] = asyncio.Queue(_MOST_WAITING)
        self._ends = asyncio.Event()

    def take(self, record: Record) -> bool:
        """Have something written down soon; false if too much waits already."""
        try:
            self._waiting.put_nowait(record)
        except asyncio.QueueFull:
            log.warning("relay.record_dropped", waiting=_MOST_WAITING)
            return False
        return True

    async def work(self) -> None:
        """Write down what was taken, until cancelled."""
        while True:
            record = await self._waiting.get()
            try:
                await self._write(record)
            finally:
                self._waiting.task_done()

    async def join(self) -> None:
        """Wait until all that was taken is written down, or lost."""
        await self._waiting.join()

    async def finish(self) -> None:
        """Let `work` come to the end: nothing is tried twice any more, nor waited for too long."""
        self._ends.set()
        try:
            async with asyncio.timeout(_LAST_DEADLINE_S):
                await self.join()
        except TimeoutError:
            log.warning("relay.records_lost", waiting=self._waiting.qsize())

    async def _write(self, record: Record) -> None:
        tries = 0
        while True:
            tries += 1
            try:
                await record()
            except Exception as error:  # noqa: BLE001 - no record is worth the relay
                problem = type(error).__name__
                if self._ends.is_set() or not _may_pass(error):
                    log.warning("relay.record_lost", problem=problem)
                    return
                tell = log.warning if tries == 1 else log.debug
                tell("relay.records_delayed", problem=problem, waiting=1 + self._waiting.qsize())
                await self._rest()
            else:
                if tries > 1:
                    log.info("relay.records_resumed", waiting=self._waiting.qsize())
                return

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_S):
                await self._ends.wait()


def _may_pass(error: Exception) -> bool:
    """Tell a database that is away, full or locked from a record that it will never take."""
    return isinstance(error, SQLAlchemyError) and not isinstance(error, _REFUSALS)

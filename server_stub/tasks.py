"""Work that goes on beside a block."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import structlog
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)

_PATIENCE_S = 0.5


async def repeatedly(every_s: float, do: Callable[[], Awaitable[object]]) -> NoReturn:
    """Do something time and again until cancelled; what fails is tried again the next time."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await do()
        except SQLAlchemyError as error:
            log.warning("relay.database_away", problem=type(error).__name__)
        except Exception:
            log.exception("relay.task_failed")


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run each of `work` until the block ends.

    No task group: it would wrap what the block raises, and none of the work here fails.
    """
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        await _end(set(tasks))


async def _end(tasks: set["asyncio.Task[object]"]) -> None:
    """Cancel tasks until all of them have ended.

    Once may not do: `asyncio.wait_for` of Python 3.11, which redis uses, lets a cancellation go that
    comes together with the result (https://github.com/python/cpython/issues/86296).
    """
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=_PATIENCE_S)

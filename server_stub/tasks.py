"""Work that goes on beside a block."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

_UNHEARD_AFTER_S = 1.0
"""Whoever goes on for so long is cancelled again.

Python 3.11's `asyncio.wait_for`, which redis sends by, swallows a cancellation that comes together
with its result (https://github.com/python/cpython/issues/86296).
"""


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run each of `work` until the block ends.

    No task group: it would wrap what the block raises, and none of the work here fails.
    """
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        going_on = set(tasks)
        while going_on:
            for task in going_on:
                task.cancel()
            _, going_on = await asyncio.wait(going_on, timeout=_UNHEARD_AFTER_S)

"""Keeps a cancellation from being lost on its way out of a task group."""

import asyncio


def heed_cancellation() -> None:
    """Raise a cancellation that met a TaskGroup on its way out with an error.

    Before Python 3.13 the error alone comes out of the group, and nobody would stop
    (https://github.com/python/cpython/issues/116720).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError

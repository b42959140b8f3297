"""Small helpers that several test modules use."""

import asyncio
import contextlib
import functools
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_ATTEMPTS = 6
_TRIES = 4

DEADLINE_S = 15.0
"""How long a test waits for what has to come. Generous: a busy machine is no failure."""


async def until(claim: Callable[[], object], *, deadline_s: float = DEADLINE_S) -> None:
    """Wait until `claim` holds."""
    async with asyncio.timeout(deadline_s):
        while not claim():
            await asyncio.sleep(0.005)


def undisturbed(attempt: Callable[[], T], is_smooth: Callable[[T], bool]) -> T:
    """Give what `attempt` saw the first time that it went smoothly, or else the last time.

    A busy machine takes time from whatever runs, now and then; what is held up each time is ours.
    """
    seen = attempt()
    for _ in range(_ATTEMPTS - 1):
        if is_smooth(seen):
            break
        seen = attempt()
    return seen


def unless_disturbed(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Let a test pass that holds at one of a few tries.

    For claims that a busy machine spoils by holding up another process, such as a browser.
    """

    @functools.wraps(test)
    async def tried(*args: P.args, **kwargs: P.kwargs) -> None:
        for _ in range(_TRIES - 1):
            with contextlib.suppress(AssertionError, TimeoutError):
                return await test(*args, **kwargs)
        return await test(*args, **kwargs)

    return tried


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, object]) -> AsyncIterator[asyncio.Task[object]]:
    """Run `work` beside the block and cancel it at the end; its failure is the test's."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Let a child of ours do nothing at all, as on a machine that swaps itself to death."""
    os.kill(pid, signal.SIGSTOP)
    try:
        # Its threads stop one after the other: on a busy machine some still answer for a while.
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def reached_by() -> str:
    """Give the address that others on the network reach this machine by.

    Raises:
        OSError: it has none but loopback.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a UDP socket sends nothing; it only picks a route.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


async def eventually(
    claim: Callable[[], Awaitable[object]], *, deadline_s: float = DEADLINE_S
) -> None:
    """Wait until `claim`, which has to be awaited, holds."""
    async with asyncio.timeout(deadline_s):
        while not await claim():
            await asyncio.sleep(0.05)

"""What goes on beside a block ends with it."""

import asyncio

from structlog.testing import capture_logs

from server_stub.tasks import beside, repeatedly


async def test_a_cancellation_that_gets_lost_is_said_again() -> None:
    """A library that takes one for its own holds nothing up for ever."""
    started, heard = asyncio.Event(), 0

    async def go_on() -> None:
        nonlocal heard
        started.set()
        while heard < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard += 1

    async with asyncio.timeout(10), beside(go_on()):
        await started.wait()
    assert heard == 2


async def test_what_fails_is_tried_again() -> None:
    """A fault that nobody expected is told, and ends nothing but that one try."""
    tries, twice = 0, asyncio.Event()

    async def fail() -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            twice.set()
        raise RuntimeError("as told")

    with capture_logs() as logs:
        async with asyncio.timeout(10), beside(repeatedly(0.001, fail)):
            await twice.wait()
    assert {"event": "relay.task_failed", "log_level": "error", "exc_info": True} in logs

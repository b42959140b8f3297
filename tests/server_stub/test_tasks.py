"""What goes on beside a block ends with it."""

import asyncio

from server_stub.tasks import beside


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

"""Closes a WebSocket in its time, also where the other end takes nothing in."""

import asyncio
from typing import Protocol


class Closable(Protocol):
    """A WebSocket, as far as closing goes."""

    @property
    def transport(self) -> asyncio.Transport:
        """What it is written to."""

    async def close(self, code: int) -> None:
        """Say goodbye with `code` and wait for the other end's."""


async def say_goodbye(websocket: Closable, code: int, *, deadline_s: float) -> None:
    """Close `websocket`, and hang up after `deadline_s`, or at once when cancelled.

    websockets limits how long it waits for the other goodbye, not how long ours waits behind what a
    server that reads nothing has not taken yet, which is until TCP gives up.
    """
    transport = websocket.transport
    # No timeout, which on Python 3.11 would not tell its own cancellation from one of ours.
    hanging_up = asyncio.get_running_loop().call_later(deadline_s, transport.abort)
    try:
        await websocket.close(code)
    finally:
        hanging_up.cancel()
        transport.abort()

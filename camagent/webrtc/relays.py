"""Lets go of TURN servers: those asked in vain, and those whose relay nobody needs any more."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from aioice.ice import StunProtocol

log = structlog.get_logger(__name__)

Asked = asyncio.Task[StunProtocol | None]
"""An allocation; None if the server was of no use."""

GIVE_BACK_DEADLINE_S = 1.5


async def call_off(asked: set[Asked]) -> None:
    """Ask these servers no longer; aioice closes what an allocation that is cancelled had opened."""
    for task in asked:
        task.cancel()
    for relay in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(relay, StunProtocol):
            relay.transport.close()


def abandon(relays: Sequence[StunProtocol]) -> None:
    """Let go of relays that are closing, without a word from their servers."""
    for relay in relays:
        log.info("ice.relay_abandoned", after_s=GIVE_BACK_DEADLINE_S)
        transport: Any = relay.transport
        for task in (
            transport._TurnTransport__close_task,  # noqa: SLF001 - contract test
            *transport._TurnTransport__send_tasks,  # noqa: SLF001
        ):
            task.cancel()
        # Closed gently, TCP would wait until the server has taken what was sent, and TLS, whose
        # server may have taken its relay back and gone then, until it has said goodbye.
        transport._TurnTransport__inner_protocol.transport.abort()  # noqa: SLF001

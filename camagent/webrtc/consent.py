"""Whether a viewer still wants to be sent to (RFC 7675)."""

import asyncio
import contextlib
import random
from dataclasses import dataclass

from aioice import Connection
from aioice.stun import TransactionError

_COMPONENT = 1
_RETRANSMISSIONS = 2
"""After 0.5 and 1.5 s; an answer counts until 3.5 s after the first request."""


@dataclass(frozen=True)
class Consent:
    """How it is kept fresh.

    Attributes:
        interval_s: between an answer and the next question, give or take a fifth.
        lasts_s: how long an answer holds.
    """

    interval_s: float = 5.0
    lasts_s: float = 30.0

    async def expired(self, connection: Connection) -> None:
        """Ask a viewer that is connected again and again; return when it has long not answered.

        aioice takes what is answered later than in half a second for no answer, and cuts off whoever
        is further away than that by satellite, or by a queue on a mobile network.
        """
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(self.lasts_s):
                    await self._renewed(connection)

    async def _renewed(self, connection: Connection) -> None:
        """Wait for an answer, however often it takes to ask."""
        assert connection.remote_password is not None, "connected with it"
        key = connection.remote_password.encode()
        while True:
            await asyncio.sleep(self.interval_s * random.uniform(0.8, 1.2))  # noqa: S311
            pair = connection._nominated[_COMPONENT]  # noqa: SLF001 - contract test
            request = connection.build_request(pair, nominate=False)
            with contextlib.suppress(TransactionError):
                await pair.protocol.request(
                    request, pair.remote_addr, key, retransmissions=_RETRANSMISSIONS
                )
                return

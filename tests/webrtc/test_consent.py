"""How long a viewer that does not answer is still sent to, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aioice import Connection
from aioice.ice import ConnectionClosed, StunProtocol
from aioice.stun import parse_message

from camagent.webrtc.consent import Consent
from camagent.webrtc.gathering import TricklingConnection
from tests.support import DEADLINE_S, until
from tests.webrtc.ice_viewer import introduced

ROUND_TRIP_S = 0.6


class Far(StunProtocol):
    """A viewer's socket, to which everything takes its time."""

    asked: set[bytes]

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        assert isinstance(data, bytes)
        self.asked.add(parse_message(data).transaction_id)
        hear = super().datagram_received
        asyncio.get_running_loop().call_later(ROUND_TRIP_S, hear, data, addr)


class Deaf(StunProtocol):
    """A viewer's socket, to which nothing gets."""

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        pass


@asynccontextmanager
async def connected(consent: Consent) -> AsyncIterator[tuple[TricklingConnection, Connection]]:
    async with introduced() as (ours, theirs):
        ours.consent = consent
        await asyncio.gather(ours.connect(), theirs.connect())
        yield ours, theirs


async def test_who_is_far_away_stays_connected() -> None:
    """An answer that takes longer than half a second is one."""
    asked: set[bytes] = set()
    async with connected(Consent(interval_s=0.01, lasts_s=1.5)) as (ours, theirs):
        closed = asyncio.ensure_future(ours.get_event())
        for protocol in theirs._protocols:
            protocol.__class__ = Far
            assert isinstance(protocol, Far)
            protocol.asked = asked
        # Each is asked when the one before has an answer, or none. Were it none, three would do.
        await until(lambda: len(asked) == 4 or closed.done())

        assert not closed.done()


async def test_who_is_gone_is_noticed() -> None:
    """Consent expires when nothing was answered for long, whoever is being asked then."""
    async with connected(Consent(interval_s=0.01, lasts_s=0.3)) as (ours, theirs):
        closed = asyncio.ensure_future(ours.get_event())
        for protocol in theirs._protocols:
            protocol.__class__ = Deaf

        assert isinstance(await asyncio.wait_for(closed, DEADLINE_S), ConnectionClosed)


async def test_closing_ends_the_questions() -> None:
    """Nobody is asked by a connection that is closed."""
    async with connected(Consent(interval_s=0.01)) as (ours, _):
        asking = ours._query_consent_task
        assert asking is not None
        await ours.close()

        assert asking.cancelled()

"""Viewers that are found by nothing but their own checks, over real sockets."""

import asyncio

import pytest
from aioice import Candidate

from tests.support import DEADLINE_S
from tests.webrtc.ice_viewer import strangers, tell
from tests.webrtc.viewers import Viewer, camera, served, viewer, without_candidates

ROUNDS = 10
FOR_TCP = Candidate("f", 1, "tcp", 1, "192.0.2.1", 9, "host", tcptype="active")


@pytest.mark.parametrize("told", [[], [FOR_TCP]], ids=["nothing", "nothing of use"])
async def test_who_told_nothing_of_use_is_waited_for(told: list[Candidate]) -> None:
    """Its checks come once it has our candidates, and are then answered."""
    async with strangers() as (ours, theirs):
        await tell(ours, told)
        connecting = asyncio.ensure_future(ours.connect())
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        assert not connecting.done()

        await tell(theirs, ours.local_candidates)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(connecting, theirs.connect())

        assert ours._nominated[1].remote_candidate.type == "prflx"


async def test_who_does_not_come_is_not_waited_for_long() -> None:
    """Patience ends before the session's time does."""
    async with strangers() as (ours, _):
        await tell(ours, [])
        ours.patience_s = 0.05
        with pytest.raises(ConnectionError):
            await ours.connect()


class Hiding:
    """A viewer that tells none of its addresses, and that there are no more."""

    def __init__(self, one: Viewer) -> None:
        self._one = one
        self.accept = one.accept

    async def offer(self) -> str:
        return without_candidates(await self._one.offer()) + "a=end-of-candidates\r\n"


async def test_who_hides_sees() -> None:
    """A whole session with such a viewer brings its picture."""
    async with camera() as capture, viewer() as one, served(Hiding(one), capture) as service:
        await one.picture()

        assert service.session.ledger.pair_type == "host/prflx"

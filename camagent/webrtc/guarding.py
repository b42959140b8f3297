"""What strangers and viewers may cost an ICE connection, whose ports anybody can send to.

Its private names are tried by test_ice_contract.py.
"""

import struct

from aioice import Candidate, Connection, stun
from aioice.ice import StunProtocol
from aioice.stun import Message

_COMPONENT = 1
_LARGEST_BYTES = 1_500
"""As much as pylibsrtp has room for."""

_MOST_EARLY = 64
_MOST_QUEUED = 1_024
_MOST_CANDIDATES = 100
"""The limit on pairs (RFC 8445, section 6.1.2.5), for each of our own candidates."""

_LAST_OF_STUN = b"\x03"
_parse = stun.parse_message


def parse_message(data: bytes) -> Message:
    """Read a STUN message in place of aioice, whose receivers can do with ValueError only.

    Raises:
        ValueError: `data` is none, by its first byte (RFC 7983) or any other.
    """
    if data[:1] > _LAST_OF_STUN:
        raise ValueError("not STUN")
    try:
        return _parse(data)
    except struct.error as error:
        raise ValueError("an attribute of a STUN message has a wrong length") from error


# All of aioice looks it up there: sockets of our own, relayed ones, and those to TURN servers.
stun.parse_message = parse_message


class GuardedConnection(Connection):
    """aioice's connection, with an end to everything that grows by what comes in."""

    def data_received(self, data: bytes, component: int) -> None:
        """Keep a datagram that may be DTLS or SRTP for aiortc, or drop it.

        Until there is a way nobody reads them, and who sent one is never known: that of a hello
        that came early is worth keeping. One that is empty or longer would end aiortc's reading,
        and the session with it.
        """
        most = _MOST_QUEUED if self._nominated else _MOST_EARLY
        if 0 < len(data) <= _LARGEST_BYTES and self._queue.qsize() < most:
            self._queue.put_nowait((data, component))

    async def add_remote_candidate(self, remote_candidate: Candidate | None) -> None:
        """Add one of the viewer's candidates, unless it is for RTCP alone, which goes with RTP here."""
        if remote_candidate is None or remote_candidate.component == _COMPONENT:
            await super().add_remote_candidate(remote_candidate)

    def check_incoming(
        self, message: Message, addr: tuple[str, int], protocol: StunProtocol
    ) -> None:
        """Take in a check of the viewer's, unless it makes up address after address.

        Each new one is a candidate for good, and checked for a minute.
        """
        has_room = len(self._remote_candidates) < _MOST_CANDIDATES
        if "PRIORITY" in message.attributes and (has_room or self._is_known(addr)):
            super().check_incoming(message, addr, protocol)

    def _is_known(self, address: tuple[str, int]) -> bool:
        # The host of a candidate by name is that name.
        return any(
            (candidate._network_host, candidate.port) == address  # noqa: SLF001 - contract test
            for candidate in self._remote_candidates
        )

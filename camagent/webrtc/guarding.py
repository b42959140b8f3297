"""What strangers and viewers may cost an ICE connection, whose ports anybody can send to.

Its private names are tried by test_ice_contract.py.
"""

from aioice import Connection

_LARGEST_BYTES = 1_500
"""As much as pylibsrtp has room for."""

_MOST_EARLY = 64
_MOST_QUEUED = 1_024


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

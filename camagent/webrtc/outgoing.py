"""The way of one viewer's packets from their layout to the socket: numbered, encrypted, sent."""

from typing import Any

import structlog
from aiortc import RTCDtlsTransport

from camagent.webrtc.layout import Run
from camagent.webrtc.srtp import Protector, Scratch
from camagent.webrtc.wire import Wire, wire_of

log = structlog.get_logger(__name__)


class Outgoing:
    """Encrypts and sends for one connected transport, by the pair that ICE has nominated.

    Raises:
        AttributeError, TypeError: aiortc or pylibsrtp is not as it was.
    """

    def __init__(
        self, transport: RTCDtlsTransport, scratch: Scratch, *, ssrc: int, rtx_ssrc: int
    ) -> None:
        session = transport._tx_srtp  # noqa: SLF001 - contract test
        self._media = Protector(session, scratch, ssrc=ssrc)
        self._repair = Protector(session, scratch, ssrc=rtx_ssrc)
        self._view = scratch.view
        self._ice: Any = transport.transport._connection  # noqa: SLF001 - contract test
        self._pair: Any = None
        self._wire: Wire | None = None

    def send(self, run: Run, *, sequence_number: int, timestamp: int) -> None:
        """Send packets of the video.

        Raises:
            WireFull: the socket took not all of them.
            OSError: there is no way to the viewer now.
            ValueError: they cannot be encrypted.
        """
        wire = self._current_wire()
        self._media.protect(run, sequence_number=sequence_number, timestamp=timestamp)
        wire.send(self._view, run)

    def resend(self, run: Run, *, sequence_number: int, timestamp: int) -> None:
        """Send packets of the retransmission stream; raises as `send` does."""
        wire = self._current_wire()
        self._repair.protect(run, sequence_number=sequence_number, timestamp=timestamp)
        wire.send(self._view, run)

    def close(self) -> None:
        """Give the wire back."""
        if self._wire is not None:
            self._wire.close()
        self._wire = self._pair = None

    def _current_wire(self) -> Wire:
        """Follow ICE to another pair, should it change its mind."""
        pair = self._ice._nominated.get(1)  # noqa: SLF001 - contract test
        if pair is not self._pair or self._wire is None:
            self.close()
            if pair is None:
                raise ConnectionError("ICE has no pair")
            self._pair, self._wire = pair, wire_of(pair)
        return self._wire

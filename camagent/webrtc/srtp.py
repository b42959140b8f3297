"""SRTP in place (RFC 3711): pylibsrtp copies each packet twice and makes objects for it, libsrtp need not.

Private names of pylibsrtp live here; `in_place_problem` tries them at the start.
"""

from typing import Any

from pylibsrtp import Policy, Session

from camagent.webrtc.layout import PATCH, PATCH_OFFSET, HeaderPlan, Run, lay_out

_SCRATCH_BYTES = 65_536
_patch = PATCH.pack_into


class Scratch:
    """Memory in which packets are encrypted and sent from, one viewer's after the other's."""

    def __init__(self) -> None:
        from pylibsrtp._binding import ffi  # noqa: PLC0415

        self.memory = bytearray(_SCRATCH_BYTES)
        self.view = memoryview(self.memory)
        self.address: Any = ffi.from_buffer(self.memory)


class Protector:
    """Encrypts what one SSRC sends to one viewer.

    Raises:
        AttributeError, ImportError, TypeError: pylibsrtp is not as it was.
    """

    def __init__(self, session: Session, scratch: Scratch, *, ssrc: int) -> None:
        from pylibsrtp._binding import ffi, lib  # noqa: PLC0415

        self._session = session  # it frees what the next line points to
        self._srtp: Any = session._srtp[0]  # noqa: SLF001
        self._protect: Any = lib.srtp_protect
        self._size: Any = ffi.new("int *")
        self._scratch = scratch
        self._ssrc = ssrc

    def protect(self, run: Run, *, sequence_number: int, timestamp: int) -> None:
        """Write this viewer's copy of `run` to the beginning of the scratch memory.

        Raises:
            ValueError: libsrtp refused a packet.
        """
        memory, address, srtp, size = (
            self._scratch.memory,
            self._scratch.address,
            self._srtp,
            self._size,
        )
        protect, ssrc = self._protect, self._ssrc
        memory[: len(run.data)] = run.data
        for offset, length in run.places:
            _patch(memory, offset + PATCH_OFFSET, sequence_number, timestamp, ssrc)
            size[0] = length
            if status := protect(srtp, address + offset, size):
                raise ValueError(f"libsrtp refused a packet: status {status}")
            sequence_number = sequence_number + 1 & 0xFFFF


def in_place_problem() -> str | None:
    """Encrypt one packet both ways; say what differs, or None."""
    plan = HeaderPlan(payload_type=96, tag_bytes=10, mid="0", mid_id=1)
    (run,) = lay_out([bytes(range(100))], plan, sent_at_s=0, marked=0)
    ((_, length),) = run.places
    plain = bytearray(run.data[:length])
    _patch(plain, PATCH_OFFSET, 1, 2, 3)
    try:
        scratch = Scratch()
        Protector(_session(), scratch, ssrc=3).protect(run, sequence_number=1, timestamp=2)
    except Exception as error:  # noqa: BLE001 - whatever a changed library raises, it is told
        return f"pylibsrtp has changed: {error!r}"
    if bytes(scratch.view[: len(run.data)]) != _session().protect(bytes(plain)):
        return "libsrtp encrypts otherwise in place"
    return None


def _session() -> Session:
    return Session(Policy(key=bytes(range(30)), ssrc_type=Policy.SSRC_ANY_OUTBOUND))

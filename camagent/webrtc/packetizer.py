"""Cuts H.264 access units into RTP payloads (RFC 6184, packetization mode 1). Pure.

Small NAL units travel together (STAP-A), large ones in fragments of equal size (FU-A), so that the
kernel can cut a whole frame into datagrams in one call.
"""

from collections.abc import Iterator

MOST_PAYLOAD_BYTES = 1_180
"""With headers, extensions, SRTP tag and TURN's channel header it fits any IPv6 path: 1280 bytes."""

_START_CODE = b"\x00\x00\x01"
_STAP_A, _FU_A = 24, 28
_TYPE_BITS, _IMPORTANCE_BITS, _FORBIDDEN_BIT = 0x1F, 0x60, 0x80
_FU_START, _FU_END = 0x80, 0x40
_NAL_HEADER_BYTES, _FU_HEADER_BYTES, _SIZE_BYTES = 1, 2, 2


def packetize(access_unit: bytes, *, most_bytes: int = MOST_PAYLOAD_BYTES) -> list[bytes]:
    """Give the payloads of one access unit, in order; the last one is to carry the marker bit.

    Args:
        access_unit: Annex B byte stream (ITU-T H.264, Annex B).
        most_bytes: no payload is longer.
    """
    payloads: list[bytes] = []
    together: list[bytes] = []
    together_bytes = _NAL_HEADER_BYTES
    for unit in nal_units(access_unit):
        unit_bytes = _SIZE_BYTES + len(unit)
        if together and together_bytes + unit_bytes > most_bytes:
            payloads.append(_aggregated(together))
            together, together_bytes = [], _NAL_HEADER_BYTES
        if len(unit) > most_bytes:
            payloads.extend(_fragments(unit, most_bytes))
        else:
            together.append(unit)
            together_bytes += unit_bytes
    if together:
        payloads.append(_aggregated(together))
    return payloads


def nal_units(stream: bytes) -> Iterator[bytes]:
    """Split an Annex B byte stream; start codes of three and of four bytes may be mixed."""
    start = stream.find(_START_CODE)
    while start >= 0:
        start += len(_START_CODE)
        following = stream.find(_START_CODE, start)
        # No NAL unit ends in a zero: those belong to the next start code, or are padding.
        unit = stream[start : following if following >= 0 else None].rstrip(b"\x00")
        if unit:
            yield unit
        start = following


def _aggregated(units: list[bytes]) -> bytes:
    """Put several NAL units into one payload; a single one is a payload as it is."""
    if len(units) == 1:
        return units[0]
    forbidden, importance = 0, 0
    parts = [b""]
    for unit in units:
        forbidden |= unit[0] & _FORBIDDEN_BIT
        importance = max(importance, unit[0] & _IMPORTANCE_BITS)
        parts += (len(unit).to_bytes(_SIZE_BYTES), unit)
    parts[0] = bytes([forbidden | importance | _STAP_A])
    return b"".join(parts)


def _fragments(unit: bytes, most_bytes: int) -> Iterator[bytes]:
    """Cut one NAL unit into as few fragments as possible; only the last may be shorter."""
    indicator = unit[0] & ~_TYPE_BITS | _FU_A
    unit_type = unit[0] & _TYPE_BITS
    count = -(-(len(unit) - _NAL_HEADER_BYTES) // (most_bytes - _FU_HEADER_BYTES))
    size = -(-(len(unit) - _NAL_HEADER_BYTES) // count)
    for start in range(_NAL_HEADER_BYTES, len(unit), size):
        marks = _FU_START if start == _NAL_HEADER_BYTES else 0
        if start + size >= len(unit):
            marks |= _FU_END
        yield bytes([indicator, marks | unit_type]) + unit[start : start + size]

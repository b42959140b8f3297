"""Reads what the sender writes, by the RFCs and by nothing of ours: RTP, FU-A, STAP-A."""

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class RtpPacket:
    """A packet taken apart (RFC 3550, section 5.1; RFC 8285, section 4.2)."""

    is_marked: bool
    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    extensions: dict[int, bytes]
    payload: bytes
    padding_bytes: int


def read_rtp(data: bytes) -> RtpPacket:
    first, second, sequence_number, timestamp, ssrc = struct.unpack_from("!BBHII", data)
    assert first >> 6 == 2, "version"
    assert first & 0x0F == 0, "no contributing sources"
    at, extensions = 12, {}
    if first & 0x10:
        profile, words = struct.unpack_from("!HH", data, at)
        assert profile == 0xBEDE
        block, at = data[at + 4 : at + 4 + 4 * words], at + 4 + 4 * words
        assert len(block) == 4 * words
        extensions = _read_extensions(block)
    padding_bytes = data[-1] if first & 0x20 else 0
    payload = data[at : len(data) - padding_bytes]
    return RtpPacket(
        is_marked=bool(second & 0x80),
        payload_type=second & 0x7F,
        sequence_number=sequence_number,
        timestamp=timestamp,
        ssrc=ssrc,
        extensions=extensions,
        payload=payload,
        padding_bytes=padding_bytes,
    )


def _read_extensions(block: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(block):
        if block[at] == 0:
            at += 1
            continue
        size = (block[at] & 0x0F) + 1
        found[block[at] >> 4] = block[at + 1 : at + 1 + size]
        at += 1 + size
    return found


def depacketize(payloads: list[bytes]) -> list[bytes]:
    """Give the NAL units that payloads carry (RFC 6184, sections 5.6 to 5.8)."""
    units: list[bytes] = []
    fragments = bytearray()
    for payload in payloads:
        kind = payload[0] & 0x1F
        if kind == 24:
            units += _disaggregate(payload)
        elif kind == 28:
            start, end = payload[1] & 0x80, payload[1] & 0x40
            assert not (start and end), "a fragmented unit has at least two fragments"
            assert bool(start) == (not fragments), "starts where none is open"
            if start:
                fragments = bytearray([payload[0] & 0xE0 | payload[1] & 0x1F])
            fragments += payload[2:]
            if end:
                units.append(bytes(fragments))
                fragments = bytearray()
        else:
            assert 1 <= kind <= 23
            units.append(payload)
    assert not fragments, "a fragmented unit ends"
    return units


def _disaggregate(payload: bytes) -> list[bytes]:
    units, at = [], 1
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 2])
        units.append(payload[at + 2 : at + 2 + size])
        assert len(units[-1]) == size > 0
        at += 2 + size
    assert payload[0] & 0x60 == max(unit[0] & 0x60 for unit in units), "the highest importance"
    assert payload[0] & 0x80 == max(unit[0] & 0x80 for unit in units), "any forbidden bit"
    return units

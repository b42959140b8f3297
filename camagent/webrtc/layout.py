"""RTP packets of one frame as they lie in memory, written once for every viewer they fit. Pure.

    │ header · extensions · payload · room for the tag │ header · extensions · payload · room …

A viewer's copy differs in sequence number, timestamp and SSRC, and in what encryption makes of it.
Packets of one size lie behind one another, so that the kernel can cut them into datagrams in one
call (UDP segmentation offload): all but the last one of a run are equally long.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeGuard

MOST_PACKETS_AT_ONCE = 64
"""The longest run; as many as every kernel with segmentation offload takes in one call."""

_MOST_RUN_BYTES = 65_000
"""Below what one UDP datagram may hold, which is what a run is to the kernel before it is cut."""

_HEADER = struct.Struct("!BBHII")
_VERSION, _HAS_PADDING, _HAS_EXTENSION, _MARKER = 0x80, 0x20, 0x10, 0x80
_PADDING = bytes((0, 0, 0, 4))
_ONE_BYTE_EXTENSIONS = b"\xbe\xde"
_HIGHEST_ONE_BYTE_ID = 14
_ABS_SEND_TIME_FRACTION_BITS = 18

PATCH = struct.Struct("!HII")
"""Sequence number, timestamp and SSRC, at `PATCH_OFFSET` of each packet (RFC 3550, section 5.1)."""

PATCH_OFFSET = 2


@dataclass(frozen=True)
class HeaderPlan:
    """What viewers have in common that the same packets fit.

    Attributes:
        payload_type: as negotiated (RFC 3550, section 5.1).
        tag_bytes: how much longer SRTP makes a packet.
        mid: the section's identification, sent under `mid_id` (RFC 9143).
        abs_send_time_id: extension that tells when a packet was sent, for the viewer's estimate of
            the bandwidth (goog-remb).
        playout_delay_id: extension that asks the viewer to show pictures at once.

    An id is that of a header extension in its one-byte form (RFC 8285): 1 to 14, or None to go
    without it.
    """

    payload_type: int
    tag_bytes: int
    mid: str = ""
    mid_id: int | None = None
    abs_send_time_id: int | None = None
    playout_delay_id: int | None = None

    def extensions(self, sent_at_s: float) -> bytes:
        """Write the block of header extensions, empty if there are none."""
        elements = b""
        if _fits(self.abs_send_time_id):
            # 6 bits of seconds and 18 of their fraction.
            time = int(sent_at_s * (1 << _ABS_SEND_TIME_FRACTION_BITS)) & 0xFF_FFFF
            elements += bytes([self.abs_send_time_id << 4 | 2]) + time.to_bytes(3)
        if _fits(self.playout_delay_id):
            # Least and most delay in units of 10 ms, 12 bits each: none.
            elements += bytes([self.playout_delay_id << 4 | 2, 0, 0, 0])
        elements += self._mid_element
        if not elements:
            return b""
        elements += bytes(-len(elements) % 4)
        return _ONE_BYTE_EXTENSIONS + (len(elements) // 4).to_bytes(2) + elements

    @cached_property
    def _mid_element(self) -> bytes:
        mid = self.mid.encode()
        if not _fits(self.mid_id) or not 1 <= len(mid) <= 16:  # noqa: PLR2004 - RFC 8285, 4.2
            return b""
        return bytes([self.mid_id << 4 | len(mid) - 1]) + mid


def _fits(extension_id: int | None) -> TypeGuard[int]:
    return extension_id is not None and 1 <= extension_id <= _HIGHEST_ONE_BYTE_ID


@dataclass(frozen=True, slots=True)
class Run:
    """Packets that can leave in one system call.

    Attributes:
        data: the packets, each with room for the tag behind it.
        places: where each packet starts, and how long it is before encryption.
        segment_bytes: how long each is after it, but for the last one, which may be shorter.
    """

    data: bytes
    places: tuple[tuple[int, int], ...]
    segment_bytes: int


def lay_out(
    payloads: Sequence[bytes], plan: HeaderPlan, *, sent_at_s: float, marked: int | None
) -> tuple[Run, ...]:
    """Write the packets of `payloads`.

    Args:
        payloads: of one frame, in order.
        plan: for whom.
        sent_at_s: about when they leave, in seconds of Unix time.
        marked: index of the payload that is the frame's last one, if it is among them.
    """
    extensions = plan.extensions(sent_at_s)
    head = _head(plan.payload_type, extensions)
    marked_head = _head(plan.payload_type | _MARKER, extensions)
    tag = bytes(plan.tag_bytes)
    runs, start = [], 0
    for end in _run_ends(payloads, overhead_bytes=len(head) + len(tag)):
        parts: list[bytes] = []
        places: list[tuple[int, int]] = []
        offset = 0
        for index in range(start, end):
            payload = payloads[index]
            size = len(head) + len(payload)
            parts += (marked_head if index == marked else head, payload, tag)
            places.append((offset, size))
            offset += size + len(tag)
        runs.append(Run(b"".join(parts), tuple(places), places[0][1] + len(tag)))
        start = end
    return tuple(runs)


def padding_packet(plan: HeaderPlan, *, sent_at_s: float) -> Run:
    """Write a packet that holds nothing but padding: a question whether anybody is there."""
    packet = _head(plan.payload_type, plan.extensions(sent_at_s), flags=_HAS_PADDING) + _PADDING
    size = len(packet)
    return Run(packet + bytes(plan.tag_bytes), ((0, size),), size + plan.tag_bytes)


def _head(marker_and_type: int, extensions: bytes, *, flags: int = 0) -> bytes:
    flags |= _HAS_EXTENSION if extensions else 0
    return _HEADER.pack(_VERSION | flags, marker_and_type, 0, 0, 0) + extensions


def _run_ends(payloads: Sequence[bytes], *, overhead_bytes: int) -> Iterator[int]:
    """Say behind which payloads a run ends: before another size, after a shorter one, when full."""
    start = 0
    for index in range(1, len(payloads)):
        size, previous = len(payloads[index]), len(payloads[index - 1])
        packets = index - start
        is_full = (
            packets == MOST_PACKETS_AT_ONCE
            or (packets + 1) * (len(payloads[start]) + overhead_bytes) > _MOST_RUN_BYTES
        )
        if is_full or size > previous or previous < len(payloads[start]):
            yield index
            start = index
    if payloads:
        yield len(payloads)

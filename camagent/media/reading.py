"""What an open container holds, piece by piece: pictures, or packets as they are, each with its time."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import av
from av import Packet
from av.container import InputContainer

from camagent.errors import CameraError

Item = TypeVar("Item", av.VideoFrame, "Packet[Any]")

_LONGEST_GAP_S = 1.0
"""A file's pictures are shown at most this far apart, whatever its timestamps say."""


Read = Callable[[InputContainer, threading.Event], Iterator[Item]]


def packets(container: InputContainer, closing: threading.Event) -> Iterator["Packet[Any]"]:
    """Give the packets of the first video stream until `closing` is set."""
    return (packet for packet in _demuxed(container, closing) if packet.size)


def pictures(
    container: InputContainer, closing: threading.Event, *, deadline_s: float
) -> Iterator[av.VideoFrame]:
    """Decode the first video stream until `closing` is set; what cannot be decoded is left out.

    USB cameras begin with half a JPEG, and networks lose packets: neither ends the stream.

    Raises:
        CameraError: for `deadline_s` there was nothing but that.
    """
    newest_s = time.monotonic()
    for packet in _demuxed(container, closing):
        try:
            decoded = packet.decode()
        except av.error.InvalidDataError:
            decoded = []
        for picture in decoded:
            assert isinstance(picture, av.VideoFrame), "it is the video stream's packet"
            yield picture
            newest_s = time.monotonic()
        if time.monotonic() - newest_s > deadline_s:
            raise CameraError(
                f"nothing that can be decoded came for {deadline_s:g} s, "
                "though data did; does the camera send a keyframe every few seconds?"
            )


def live(
    read: "Read[Item]", container: InputContainer, closing: threading.Event
) -> Iterator[tuple[Item, int]]:
    """Give what comes as it comes, with the time in microseconds, monotonic."""
    for item in read(container, closing):
        yield item, time.monotonic_ns() // 1_000


def looped(
    read: "Read[Item]",
    container: InputContainer,
    closing: threading.Event,
    *,
    reopen: Callable[[], InputContainer],
) -> Iterator[tuple[Item, int]]:
    """Play a file over and over, each picture at its time, until `closing` is set.

    It ends by itself only if there is nothing to play.
    """
    interval_s = 1 / float(container.streams.video[0].average_rate or 25)
    due_at_s = time.monotonic()
    with contextlib.ExitStack() as reopened:
        while True:
            previous_s: float | None = None
            is_empty = True
            for item in read(container, closing):
                at_s = _time_s(item)
                gap_s = interval_s
                if previous_s is not None and at_s is not None:
                    gap_s = min(max(0.0, at_s - previous_s), _LONGEST_GAP_S)
                previous_s, is_empty = at_s, False
                due_at_s = max(due_at_s + gap_s, time.monotonic() - _LONGEST_GAP_S)
                if closing.wait(max(0.0, due_at_s - time.monotonic())):
                    return
                yield item, int(due_at_s * 1_000_000)
            if is_empty:
                return
            try:
                container.seek(0)
            except av.FFmpegError:
                # A bare stream has no index to find its start by.
                reopened.close()
                container = reopened.enter_context(reopen())


def _demuxed(container: InputContainer, closing: threading.Event) -> Iterator["Packet[Any]"]:
    """Go by whatever comes, so that endless sound does not keep a camera from being closed."""
    video = container.streams.video[0].index
    everything = container.demux()
    for packet in map(_copied, everything) if _lends_packets(container) else everything:
        if closing.is_set():
            return
        if packet.stream.index == video:
            yield packet


def _lends_packets(container: InputContainer) -> bool:
    """Tell whether packets are the driver's buffers, which are not to outlive the container.

    Who frees one later, such as a traceback, writes to memory that FFmpeg has freed.
    """
    return "v4l2" in container.format.name


def _copied(packet: "Packet[Any]") -> "Packet[Any]":
    if not packet.size:
        return packet
    copy: Packet[Any] = Packet(bytes(packet))
    copy.stream, copy.time_base = packet.stream, packet.time_base
    copy.pts, copy.dts, copy.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
    return copy


def _time_s(item: "av.VideoFrame | Packet[Any]") -> float | None:
    if item.pts is None or item.time_base is None:
        return None
    return float(item.pts * item.time_base)

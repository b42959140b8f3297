"""One viewer's video: shared frames in, RTP packets out, and the viewer's feedback back.

aiortc packetizes and encrypts what the track below hands it and answers NACKs from its history. It
ignores keyframe requests on frames that are already encoded, so those are taken from RTCP here.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
from aiortc import MediaStreamTrack, RTCRtpSender
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RTCP_PSFB_FIR, RTCP_PSFB_PLI, AnyRtcpPacket, RtcpPsfbPacket
from av import Packet

from camagent.media.frame import MICROSECONDS, EncodedFrame

log = structlog.get_logger(__name__)

MOST_FRAMES_WAITING = 30
"""A viewer that is further behind starts again at a keyframe."""

_KEYFRAME_REQUESTS = frozenset({RTCP_PSFB_PLI, RTCP_PSFB_FIR})


class ViewerTrack(MediaStreamTrack):
    """The shared stream as one viewer gets it: from a keyframe on, without a gap inside.

    A subscriber of the hub on one side, a track of aiortc on the other.
    """

    kind = "video"

    def __init__(self, request_keyframe: Callable[[], None]) -> None:
        super().__init__()
        self._request_keyframe = request_keyframe
        self._backlog: deque[EncodedFrame] = deque()
        self._more = asyncio.Event()
        self._needs_keyframe = True
        self.first_frame_taken = asyncio.Event()
        self.frames = 0
        self.keyframes = 0
        self.frames_dropped = 0
        self.bytes = 0

    def take(self, frame: EncodedFrame) -> None:
        """Queue `frame`, unless this viewer has to wait for a keyframe first."""
        if frame.is_keyframe:
            self._needs_keyframe = False
        if self._needs_keyframe:
            self.frames_dropped += 1
            return
        if len(self._backlog) >= MOST_FRAMES_WAITING:
            self._start_again()
            return
        self._backlog.append(frame)
        self._more.set()

    async def recv(self) -> "Packet[Any]":
        """Hand the next frame to aiortc, which only reads it and never re-encodes.

        Raises:
            MediaStreamError: the track was stopped.
        """
        while not self._backlog:
            if self.readyState != "live":
                raise MediaStreamError
            self._more.clear()
            await self._more.wait()
        frame = self._backlog.popleft()
        self.frames += 1
        self.bytes += len(frame.data)
        self.keyframes += frame.is_keyframe
        self.first_frame_taken.set()
        return _packet(frame)

    def stop(self) -> None:
        """End the track; whoever waits in `recv` hears of it."""
        super().stop()
        self._backlog.clear()
        self._more.set()

    def _start_again(self) -> None:
        self.frames_dropped += len(self._backlog) + 1
        self._backlog.clear()
        self._needs_keyframe = True
        log.debug("sender.behind", frames=MOST_FRAMES_WAITING)
        self._request_keyframe()


def hear_keyframe_requests(sender: RTCRtpSender, request_keyframe: Callable[[], None]) -> None:
    """Call `request_keyframe` for each PLI and FIR (RFC 4585, RFC 5104) that the viewer sends."""
    handle = sender._handle_rtcp_packet  # noqa: SLF001 - contract test: test_contract.py

    async def handle_and_tell(packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpPsfbPacket) and packet.fmt in _KEYFRAME_REQUESTS:
            request_keyframe()
        await handle(packet)

    sender._handle_rtcp_packet = handle_and_tell  # type: ignore[method-assign]  # noqa: SLF001


def _packet(frame: EncodedFrame) -> "Packet[Any]":
    packet = Packet(frame.data)
    packet.pts = frame.pts_us
    packet.time_base = MICROSECONDS
    packet.is_keyframe = frame.is_keyframe
    return packet

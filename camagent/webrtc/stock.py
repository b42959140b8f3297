"""One viewer's RTP by aiortc's own means: what is left should an upgrade move its private names.

aiortc packetizes and encrypts for each viewer what the track below hands it, and answers NACKs. It
ignores keyframe requests on frames that are already encoded, so those are taken from RTCP here.
"""

import asyncio
from collections import deque
from typing import Any, NoReturn

import structlog
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpTransceiver
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import AnyRtcpPacket
from av import Packet

from camagent.media.frame import MICROSECONDS, EncodedFrame
from camagent.webrtc.rtcp import read_feedback
from camagent.webrtc.sending import Followers, Tally

log = structlog.get_logger(__name__)

MOST_FRAMES_WAITING = 30
"""A viewer that is further behind starts again at a keyframe."""


class StockSender:
    """Sends the shared stream to one viewer; slower for it than `VideoSender`, and knows less."""

    report = None
    media_clock_offset = None

    def __init__(self) -> None:
        # Never sent: aiortc sends again what was asked for, and nothing else.
        self.padding_per_frame_bytes = 0
        self.ceiling_bps: int | None = None
        self.tally = Tally()
        self.first_frame_sent = asyncio.Event()
        self._followers = Followers()
        self._track = _Track(self)
        self._backlog: deque[EncodedFrame] = deque()
        self._more = asyncio.Event()
        self._needs_keyframe = True

    def follow(self, followers: Followers) -> None:
        """Tell `followers` from now on what the viewer says; of reports this knows nothing."""
        self._followers = followers

    def add_to(self, connection: RTCPeerConnection) -> RTCRtpTransceiver:
        """Add the video to a new peer connection, to be sent only."""
        transceiver = connection.addTransceiver(self._track, direction="sendonly")
        rtc = transceiver.sender
        handle = rtc._handle_rtcp_packet  # noqa: SLF001 - contract test: test_contract.py

        async def handle_and_tell(packet: AnyRtcpPacket) -> None:
            self._hear(packet, ssrc=rtc._ssrc)  # noqa: SLF001
            await handle(packet)

        rtc._handle_rtcp_packet = handle_and_tell  # type: ignore[method-assign]  # noqa: SLF001
        return transceiver

    def agree_playout_delay(self, _extension_id: int) -> bool:
        """Refuse: aiortc does not write that extension."""
        return False

    def take(self, frame: EncodedFrame) -> None:
        """Queue `frame`, unless this viewer has to wait for a keyframe first."""
        self._needs_keyframe = self._needs_keyframe and not frame.is_keyframe
        if self._needs_keyframe:
            self.tally.frames_dropped += 1
        elif len(self._backlog) >= MOST_FRAMES_WAITING:
            self._start_again()
        else:
            self._backlog.append(frame)
            self._more.set()

    async def run(self) -> NoReturn:
        """Nothing: aiortc reports by itself."""
        await asyncio.Event().wait()
        raise AssertionError("waits for ever")

    def stop(self) -> None:
        """Send nothing more; whoever waits for the next frame hears of it."""
        self._track.stop()
        self._backlog.clear()
        self._more.set()

    async def next_packet(self) -> "Packet[Any]":
        """Hand the next frame to aiortc, which only reads it and never re-encodes.

        Raises:
            MediaStreamError: the track was stopped.
        """
        while not self._backlog:
            if self._track.readyState != "live":
                raise MediaStreamError
            self._more.clear()
            await self._more.wait()
        frame = self._backlog.popleft()
        tally = self.tally
        tally.frames += 1
        tally.keyframes += frame.is_keyframe
        tally.bytes += len(frame.data)
        tally.payload_bytes += len(frame.data)
        self.first_frame_sent.set()
        return _packet(frame)

    def _hear(self, packet: AnyRtcpPacket, *, ssrc: int) -> None:
        feedback = read_feedback(packet, ssrc=ssrc)
        if feedback is None:
            return
        if feedback.bandwidth_bps is not None:
            self._followers.take_estimate(feedback.bandwidth_bps)
        if feedback.asks_keyframe:
            self.tally.keyframes_asked += 1
            self._followers.request_keyframe()

    def _start_again(self) -> None:
        self.tally.frames_dropped += len(self._backlog) + 1
        self._backlog.clear()
        self._needs_keyframe = True
        log.debug("sender.behind", frames=MOST_FRAMES_WAITING)
        self._followers.request_keyframe()


class _Track(MediaStreamTrack):
    """The stream as aiortc wants to be handed it."""

    kind = "video"

    def __init__(self, sender: StockSender) -> None:
        super().__init__()
        self._sender = sender

    async def recv(self) -> "Packet[Any]":
        return await self._sender.next_packet()


def _packet(frame: EncodedFrame) -> "Packet[Any]":
    packet = Packet(frame.data)
    packet.pts = frame.pts_us
    packet.time_base = MICROSECONDS
    packet.is_keyframe = frame.is_keyframe
    return packet

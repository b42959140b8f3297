"""A viewer made of aiortc, and a camera made of the real test picture, for tests of sessions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.mediastreams import MediaStreamTrack
from aiortc.sdp import candidate_from_sdp
from av import VideoFrame

from camagent.media.capture import Capture
from camagent.media.encoder import EncoderOptions
from camagent.media.synthetic import SyntheticSource
from camagent.signaling.backoff import backoff
from camagent.signaling.messages import FromDevice, IceCandidate, SignalAnswer, SignalIce
from camagent.webrtc.bitrate import RateLimits
from camagent.webrtc.conductor import Conductor
from camagent.webrtc.rungs import RungSize
from tests.support import DEADLINE_S, running, until

WIDTH_PX, HEIGHT_PX = 320, 240


def small_source() -> SyntheticSource:
    return SyntheticSource(
        EncoderOptions(
            width_px=WIDTH_PX,
            height_px=HEIGHT_PX,
            frames_per_second=15,
            bitrate_bps=300_000,
            keyframe_interval_s=60,
        ),
    )


@asynccontextmanager
async def camera(**options: Any) -> AsyncIterator[Capture]:
    """Hold a capture of the test picture whose task runs."""
    capture = Capture(
        options.pop("source", None) or small_source(),
        linger_s=options.pop("linger_s", 0.0),
        is_always_on=False,
        retry_delays=backoff,
        **options,
    )
    async with running(capture.run()):
        yield capture


def conductor_of(capture: Capture) -> Conductor:
    """Let the rungs of `capture` follow its viewers."""
    size = {"width_px": WIDTH_PX, "height_px": HEIGHT_PX, "frames_per_second": 15}
    return Conductor(
        capture,
        capture.low,
        limits=RateLimits(floor_bps=50_000, start_bps=300_000, ceiling_bps=300_000),
        main_size=RungSize(**size, ceiling_bps=300_000),
        low_size=None,
    )


class Outbox:
    """Keeps what the device sends."""

    def __init__(self) -> None:
        self.sent: list[FromDevice] = []

    def send(self, message: FromDevice) -> None:
        self.sent.append(message)

    def of_type(self, kind: str) -> list[Any]:
        return [message for message in self.sent if message.type == kind]

    async def answer(self) -> str:
        await until(lambda: self.of_type("signal_answer"))
        message = self.of_type("signal_answer")[-1]
        assert isinstance(message, SignalAnswer)
        return message.payload.sdp.sdp

    def candidates(self) -> list[IceCandidate | None]:
        return [
            message.payload.candidate for message in self.sent if isinstance(message, SignalIce)
        ]


class Viewer:
    """One aiortc peer connection that wants video."""

    def __init__(self, *, also_offers_everything: bool = False) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
        self.connection.on("track", self._on_track)
        if also_offers_everything:
            self.connection.createDataChannel("chat")
            self.connection.addTransceiver("audio", direction="sendrecv")
            self.connection.addTransceiver(VideoStreamTrack(), direction="sendrecv")
        else:
            self.connection.addTransceiver("video", direction="recvonly")

    def _on_track(self, track: MediaStreamTrack) -> None:
        self.tracks.put_nowait(track)

    def prefer(self, mime_type: str) -> None:
        codecs = RTCRtpReceiver.getCapabilities("video").codecs
        self.connection.getTransceivers()[-1].setCodecPreferences(
            [codec for codec in codecs if codec.mimeType.lower() == mime_type.lower()]
        )

    async def offer(self) -> str:
        await self.connection.setLocalDescription()
        return str(self.connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def add(self, candidate: IceCandidate | None) -> None:
        if candidate is None:
            await self.connection.addIceCandidate(None)
            return
        read = candidate_from_sdp(candidate.candidate.removeprefix("candidate:"))
        read.sdpMid, read.sdpMLineIndex = candidate.sdpMid, candidate.sdpMLineIndex
        await self.connection.addIceCandidate(read)

    async def picture(self) -> VideoFrame:
        """Decode the next picture."""
        async with asyncio.timeout(DEADLINE_S):
            track = await self.tracks.get()
            self.tracks.put_nowait(track)
            frame = await track.recv()
        assert isinstance(frame, VideoFrame)
        return frame


@asynccontextmanager
async def viewer(**options: Any) -> AsyncIterator[Viewer]:
    """Hold a viewer that is closed at the end."""
    one = Viewer(**options)
    try:
        yield one
    finally:
        await one.connection.close()


def without_candidates(sdp: str) -> str:
    """Write an SDP as a browser that trickles does."""
    return "".join(
        f"{line}\r\n"
        for line in sdp.splitlines()
        if not line.startswith(("a=candidate:", "a=end-of-candidates"))
    )


def candidates_of(sdp: str) -> list[IceCandidate]:
    """List the candidates inside an SDP as a browser would trickle them."""
    return [
        IceCandidate(candidate=line[2:], sdpMid="0", sdpMLineIndex=0)
        for line in sdp.splitlines()
        if line.startswith("a=candidate:")
    ]

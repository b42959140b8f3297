"""A viewer made of aiortc, and a camera made of the real test picture, for tests of sessions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

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
from camagent.media.hub import VideoHub
from camagent.media.synthetic import SyntheticSource
from camagent.signaling.backoff import backoff
from camagent.signaling.messages import (
    FromDevice,
    IceCandidate,
    IceServer,
    SignalAnswer,
    SignalIce,
)
from camagent.webrtc.bitrate import RateLimits
from camagent.webrtc.conductor import Conductor
from camagent.webrtc.packing import Packing
from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.rungs import RungSize
from camagent.webrtc.sender import VideoSender
from camagent.webrtc.sending import Followers, Sender, Tally
from camagent.webrtc.session import Camera, Session, SessionLimits
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

    def __init__(
        self,
        *,
        also_offers_everything: bool = False,
        configuration: RTCConfiguration | None = None,
    ) -> None:
        self.connection = RTCPeerConnection(configuration or RTCConfiguration(iceServers=[]))
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


async def outcome(session: Session, *, deadline_s: float = 2 * DEADLINE_S) -> BaseException:
    """Run a session to its end and give its cause."""
    error: BaseException | None = None
    try:
        async with asyncio.timeout(deadline_s):
            await session.run()
    except ExceptionGroup as group:
        error = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert error is not None, "a session always ends by an error"
    return error


class CameraWithHub(Camera, Protocol):
    """A camera whose frames come out at one hub."""

    @property
    def hub(self) -> VideoHub: ...


@contextmanager
def straight_from(
    camera: CameraWithHub,
    sender: Sender,
    *,
    request_keyframe: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Hand `sender` all frames of `camera`, whatever its viewer reports, while the block runs."""
    sender.follow(Followers(request_keyframe=request_keyframe or camera.hub.request_keyframe))
    with camera.hub.subscribed(sender):
        yield


class AnyViewer(Protocol):
    """What has a peer connection that wants video, and offers with all its candidates inside."""

    async def offer(self) -> str: ...

    async def accept(self, answer: str) -> None: ...


@dataclass(frozen=True)
class Served:
    """A session whose answer its viewer has accepted."""

    session: Session
    answer: str
    running: asyncio.Future[BaseException]

    @property
    def tally(self) -> Tally:
        return self.session.sender.tally


@asynccontextmanager
async def served(
    viewer: AnyViewer,
    camera: CameraWithHub,
    *,
    sender: Sender | None = None,
    serve_frames: Callable[[Sender], AbstractContextManager[None]] | None = None,
    options: PeerOptions | None = None,
    ice_servers: tuple[IceServer, ...] = (),
    deadline_s: float = 2 * DEADLINE_S,
) -> AsyncIterator[Served]:
    """Hold a session of `camera` with `viewer`, who gets all its frames unless told otherwise."""
    outbox = Outbox()
    session = Session(
        "s",
        ice_servers=ice_servers,
        options=options or PeerOptions(),
        limits=SessionLimits(),
        camera=camera,
        sender=sender or VideoSender(Packing()),
        serve_frames=serve_frames or partial(straight_from, camera),
        send=outbox.send,
    )
    running = asyncio.ensure_future(outcome(session, deadline_s=deadline_s))
    try:
        session.take_offer(await viewer.offer())
        answer = await outbox.answer()
        await viewer.accept(answer)
        yield Served(session, answer, running)
    finally:
        session.end("the test is over")
        await running

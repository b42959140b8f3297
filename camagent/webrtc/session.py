"""One viewer watching this device, from watch_request to the end."""

import asyncio
import enum
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import structlog

from camagent.errors import (
    CameraError,
    CameraUnavailable,
    ConnectFailed,
    NegotiationFailed,
    SessionEnded,
    SessionError,
    SessionTooLong,
)
from camagent.media.hub import VideoHub
from camagent.signaling.messages import (
    Answer,
    FromDevice,
    IceCandidate,
    IceServer,
    SignalAnswer,
    SignalIce,
)
from camagent.webrtc.ice import usable_servers
from camagent.webrtc.peer import Peer, PeerOptions, open_peer
from camagent.webrtc.sdp import read_offer
from camagent.webrtc.sending import Sender

log = structlog.get_logger(__name__)

_MOST_CANDIDATES_WAITING = 64


class SessionState(enum.Enum):
    """The watch session lifecycle of the protocol, as the device lives it."""

    REQUESTED = "requested"
    """A watch_request came; the viewer is told watch_ready meanwhile."""

    CONNECTING = "connecting"
    """The peer connection exists and gathers; the offer is not in."""

    OFFER_SENT = "offer_sent"
    """The viewer's offer is here."""

    ANSWER_RECEIVED = "answer_received"
    """Our answer is on its way to the viewer."""

    ICE_GATHERING = "ice_gathering"
    """Candidates go both ways; ICE and DTLS are at work."""

    CONNECTED = "connected"
    """Media may flow; the first frame has not been handed over."""

    STREAMING = "streaming"
    """Media flows."""

    ENDING = "ending"
    """It is over; resources are being released."""

    ENDED = "ended"
    """Everything is released. Final."""


_ORDER = tuple(SessionState)


class Camera(Protocol):
    """What a session needs of the camera."""

    @property
    def hub(self) -> VideoHub:
        """Where its frames come out."""

    def watched(self) -> AbstractContextManager[None]:
        """Keep it running while the block runs."""

    async def failed(self) -> CameraError:
        """Return once it cannot serve."""


@dataclass(frozen=True, kw_only=True)
class SessionLimits:
    """How long a session may wait for what, in seconds. None: for ever."""

    offer_deadline_s: float = 30.0
    connect_deadline_s: float = 15.0
    longest_s: float | None = None


@dataclass
class Ledger:
    """What is told about a session at its end."""

    started_at_s: float = field(default_factory=time.monotonic)
    reached_ms: dict[str, int] = field(default_factory=dict)
    pair_type: str | None = None

    def note(self, stage: str) -> None:
        """Note how many milliseconds after the watch_request `stage` was reached, if it is new."""
        self.reached_ms.setdefault(stage, round((time.monotonic() - self.started_at_s) * 1000))

    def elapsed_s(self) -> float:
        """How long ago the watch_request came, in tenths of a second."""
        return round(time.monotonic() - self.started_at_s, 1)


class Session:
    """One viewer and its peer connection. `run` is its whole life; the rest may be called any time.

    `sender` sends its video, and is this session's alone; `send` takes messages for the viewer.
    """

    def __init__(
        self,
        session_id: str,
        *,
        ice_servers: tuple[IceServer, ...],
        options: PeerOptions,
        limits: SessionLimits,
        camera: Camera,
        sender: Sender,
        send: Callable[[FromDevice], None],
    ) -> None:
        self.session_id = session_id
        self.ledger = Ledger()
        self.sender = sender
        self._ice_servers = ice_servers
        self._options = options
        self._limits = limits
        self._camera = camera
        self._send = send
        self._state = SessionState.REQUESTED
        self._offer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._candidates: asyncio.Queue[IceCandidate | None] = asyncio.Queue(
            _MOST_CANDIDATES_WAITING
        )
        self._end: asyncio.Future[SessionError] = asyncio.get_running_loop().create_future()

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._state

    @property
    def is_over(self) -> bool:
        """True once nothing but cleaning up is left."""
        return self._end.done() or self._state in {SessionState.ENDING, SessionState.ENDED}

    def take_offer(self, sdp: str) -> None:
        """Take the viewer's offer; a second one is ignored, for aiortc cannot restart ICE."""
        if self._offer.done():
            log.warning("session.second_offer_ignored", session_id=self.session_id)
        else:
            self._offer.set_result(sdp)

    def take_candidate(self, candidate: IceCandidate | None) -> None:
        """Take one of the viewer's candidates, or None when there are no more."""
        try:
            self._candidates.put_nowait(candidate)
        except asyncio.QueueFull:
            log.warning("session.candidate_dropped", session_id=self.session_id)

    def end(self, reason: str) -> None:
        """Let `run` come to its end, which somebody wished."""
        self.fail(SessionEnded(reason))

    def fail(self, error: SessionError) -> None:
        """Let `run` come to its end with `error`."""
        if not self._end.done():
            self._end.set_result(error)

    async def run(self) -> NoReturn:
        """Serve the viewer, which always ends in an error that says why.

        Raises:
            ExceptionGroup: of SessionError, one of which is the cause.
        """
        try:
            with self._camera.watched():
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._hear_of_the_end())
                    tasks.create_task(self._hear_of_the_camera())
                    await self._serve()
        finally:
            self._enter(SessionState.ENDED)
        raise AssertionError("a session ends by an error only")

    async def _serve(self) -> None:
        servers = usable_servers(self._ice_servers)
        async with open_peer(self.sender, ice_servers=servers, options=self._options) as peer:
            self._enter(SessionState.CONNECTING)
            try:
                async with asyncio.TaskGroup() as tasks:
                    offer = await self._await_offer()
                    async with self._connect_deadline(peer):
                        await peer.gathered()
                        await self._negotiate(peer, offer)
                        tasks.create_task(self._pass_candidates(peer))
                        await peer.connected()
                    await self._stream(peer)
            finally:
                self._enter(SessionState.ENDING)

    async def _await_offer(self) -> str:
        deadline_s = self._limits.offer_deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                offer = await self._offer
        except TimeoutError as error:
            raise NegotiationFailed(f"no offer came within {deadline_s:g} s") from error
        self._enter(SessionState.OFFER_SENT)
        return offer

    async def _negotiate(self, peer: Peer, text: str) -> None:
        offer = read_offer(text)
        answer = await peer.answer(offer)
        payload = SignalAnswer.Payload(session_id=self.session_id, sdp=Answer(sdp=answer))
        self._send(SignalAnswer(payload=payload))
        self._enter(SessionState.ANSWER_RECEIVED)
        for line in offer.candidates:
            self.take_candidate(IceCandidate(candidate=line))
        for candidate in (*peer.candidates(), None):
            ice = SignalIce.Payload(session_id=self.session_id, candidate=candidate)
            self._send(SignalIce(payload=ice))
        if offer.has_all_candidates:
            self.take_candidate(None)
        self._enter(SessionState.ICE_GATHERING)

    async def _pass_candidates(self, peer: Peer) -> None:
        task = asyncio.current_task()
        assert task is not None, "a child of the session's task group"
        # Asked by hand: when its connection closes just then, aioice's wait for multicast DNS
        # swallows our cancellation (Python 3.11: asyncio.wait_for), and nobody cancels twice.
        while not task.cancelling():
            candidate = await self._candidates.get()
            try:
                await peer.add_candidate(candidate)
            except NegotiationFailed as error:
                log.warning("session.candidate_ignored", problem=str(error))

    async def _stream(self, peer: Peer) -> None:
        self._enter(SessionState.CONNECTED)
        self.ledger.pair_type = peer.pair_type()
        with self._camera.hub.subscribed(self.sender):
            try:
                async with asyncio.timeout(self._limits.longest_s), asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._note_first_frame())
                    tasks.create_task(self.sender.run())
                    await peer.lost()
            except TimeoutError as error:
                raise SessionTooLong(f"{self._limits.longest_s:g} s are over") from error

    async def _note_first_frame(self) -> None:
        await self.sender.first_frame_sent.wait()
        self._enter(SessionState.STREAMING)

    async def _hear_of_the_end(self) -> NoReturn:
        raise await self._end

    async def _hear_of_the_camera(self) -> NoReturn:
        raise CameraUnavailable(str(await self._camera.failed()))

    @asynccontextmanager
    async def _connect_deadline(self, peer: Peer) -> AsyncIterator[None]:
        deadline_s = self._limits.connect_deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                yield
        except TimeoutError as error:
            raise ConnectFailed(f"{peer.stage} did not finish within {deadline_s:g} s") from error

    def _enter(self, state: SessionState) -> None:
        """Move on to `state` and log it; a move backwards is a bug, not an event."""
        assert _ORDER.index(self._state) < _ORDER.index(state), f"{self._state} -> {state}"
        log.debug("session.state", previous=self._state.value, state=state.value)
        self._state = state
        self.ledger.note(state.value)

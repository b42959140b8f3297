"""One viewer watching this device, from watch_request to the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
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
from camagent.signaling.messages import (
    Answer,
    FromDevice,
    IceCandidate,
    IceServer,
    SignalAnswer,
    SignalIce,
)
from camagent.webrtc.ice import has_name
from camagent.webrtc.ice_servers import usable_servers
from camagent.webrtc.peer import Peer, PeerOptions, open_peer
from camagent.webrtc.sdp import read_offer
from camagent.webrtc.sending import Sender
from camagent.webrtc.session_state import Ledger, SessionState
from camagent.webrtc.telling import tell_rung

log = structlog.get_logger(__name__)

_MOST_CANDIDATES = 64
"""Each costs a check of its address: a viewer shall not search a network through this device."""


_ORDER = tuple(SessionState)


class Camera(Protocol):
    """What a session needs of the camera."""

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


class Session:
    """One viewer and its peer connection. `run` is its whole life; the rest may be called any time.

    `sender` sends its video, and is this session's alone; in `serve_frames` it gets the frames, and
    `expect_frames` is called shortly before. `send` takes messages for the viewer.
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
        serve_frames: Callable[[Sender], AbstractContextManager[None]],
        expect_frames: Callable[[], None] = lambda: None,
        send: Callable[[FromDevice], None],
    ) -> None:
        self.session_id = session_id
        self.ledger = Ledger()
        self.sender = sender
        self._ice_servers = ice_servers
        self._options = options
        self._limits = limits
        self._camera = camera
        self._serve_frames = serve_frames
        self._expect_frames = expect_frames
        self._send = send
        self._state = SessionState.REQUESTED
        self._offer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._candidates: asyncio.Queue[IceCandidate | None] = asyncio.Queue()
        self._candidates_taken = 0
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
        self._candidates_taken += 1
        if self._candidates_taken > _MOST_CANDIDATES:
            log.warning("session.candidate_dropped", session_id=self.session_id)
        else:
            self._candidates.put_nowait(candidate)

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
        async with open_peer(self.sender, servers=servers, options=self._options) as peer:
            self._enter(SessionState.CONNECTING)
            try:
                async with asyncio.TaskGroup() as tasks:
                    finding = tasks.create_task(peer.find_candidates())
                    offer = await self._await_offer()
                    async with self._connect_deadline(peer):
                        await peer.gathered()
                        await self._negotiate(peer, offer)
                        tasks.create_task(self._tell_candidates(peer))
                        tasks.create_task(self._pass_candidates(peer))
                        await peer.reached()
                        # The picture becomes a keyframe while DTLS shakes hands.
                        self._expect_frames()
                        await peer.connected()
                    # What it would still find, nobody needs now.
                    finding.cancel()
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
        self.sender.ceiling_bps = offer.video.ceiling_bps
        answer = await peer.answer(offer)
        payload = SignalAnswer.Payload(session_id=self.session_id, sdp=Answer(sdp=answer))
        self._send(SignalAnswer(payload=payload))
        self._enter(SessionState.ANSWER_RECEIVED)
        for line in offer.candidates:
            self.take_candidate(IceCandidate(candidate=line))
        if offer.has_all_candidates:
            self.take_candidate(None)
        self._enter(SessionState.ICE_GATHERING)

    async def _tell_candidates(self, peer: Peer) -> None:
        """Tell the viewer each of our candidates, and in the end that there are no more."""
        while True:
            candidate = await peer.next_candidate()
            ice = SignalIce.Payload(session_id=self.session_id, candidate=candidate)
            self._send(SignalIce(payload=ice))
            if candidate is None:
                return

    async def _pass_candidates(self, peer: Peer) -> None:
        """Add the viewer's candidates in their order, but for those whose names have to be asked for."""
        task = asyncio.current_task()
        assert task is not None, "a child of the session's task group"
        async with asyncio.TaskGroup() as names:
            # Asked by hand: aioice's waits can swallow our cancellation when the connection closes
            # just then (Python 3.11: asyncio.wait_for), and nobody cancels twice.
            while not task.cancelling():
                candidate = await self._candidates.get()
                if candidate is not None and has_name(candidate):
                    names.create_task(_add_candidate(peer, candidate))
                    # Begun before the next one, which may say that there are no more.
                    await asyncio.sleep(0)
                else:
                    await _add_candidate(peer, candidate)

    async def _stream(self, peer: Peer) -> None:
        self._enter(SessionState.CONNECTED)
        self.ledger.pair_type = peer.pair_type()
        with self._serve_frames(self.sender):
            try:
                async with asyncio.timeout(self._limits.longest_s), asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._note_first_frame())
                    tasks.create_task(self.sender.run())
                    tasks.create_task(tell_rung(self.session_id, self.sender.tally, self._send))
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
            problem = f"{peer.stage} did not finish within {deadline_s:g} s"
            raise ConnectFailed(peer.told(problem)) from error

    def _enter(self, state: SessionState) -> None:
        """Move on to `state` and log it; a move backwards is a bug, not an event."""
        assert _ORDER.index(self._state) < _ORDER.index(state), f"{self._state} -> {state}"
        log.debug("session.state", previous=self._state.value, state=state.value)
        self._state = state
        self.ledger.note(state.value)


async def _add_candidate(peer: Peer, candidate: IceCandidate | None) -> None:
    try:
        await peer.add_candidate(candidate)
    except NegotiationFailed as error:
        log.warning("session.candidate_ignored", problem=str(error))

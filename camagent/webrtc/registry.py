"""All sessions: admits them, keeps each one's failure to itself, and ends orphans."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NoReturn

import structlog

from camagent.errors import (
    CameraSwitchedOff,
    CameraUnavailable,
    ConnectFailed,
    NegotiationFailed,
    SessionEnded,
    SessionError,
    SessionTooLong,
    ViewerLost,
)
from camagent.signaling.messages import (
    DeviceWatchRequest,
    FromDevice,
    WatchEnded,
    WatchEndReason,
)
from camagent.webrtc.conductor import Conductor
from camagent.webrtc.peer import PeerOptions, warm_up
from camagent.webrtc.senders import choose_sender
from camagent.webrtc.sending import Tally
from camagent.webrtc.session import Camera, Session, SessionLimits

log = structlog.get_logger(__name__)

_ENDS_REMEMBERED = 64

_REASONS: dict[type[BaseException], WatchEndReason] = {
    CameraSwitchedOff: "error",
    CameraUnavailable: "error",
    ConnectFailed: "error",
    NegotiationFailed: "error",
    SessionTooLong: "timeout",
    ViewerLost: "viewer_disconnected",
}


@dataclass
class Totals:
    """What all sessions together came to since the start.

    Attributes:
        ended: sessions by how they ended.
        frames: handed to viewers' peer connections, and so `bytes` of H.264.
        frames_dropped: kept from viewers that wait for a keyframe.
    """

    ended: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    frames_dropped: int = 0
    bytes: int = 0

    def add(self, tally: Tally) -> None:
        """Count what one viewer got."""
        self.frames += tally.frames
        self.frames_dropped += tally.frames_dropped
        self.bytes += tally.bytes


@dataclass
class _Entry:
    """One session, and which link the server last spoke of it on."""

    session: Session
    user_id: str
    link_number: int


class SessionRegistry:
    """Every session of this device by its id.

    `send` takes messages for the server; `on_change` is called when the number of viewers changed.
    """

    def __init__(
        self,
        *,
        camera: Camera,
        conductor: Conductor,
        max_viewers: int,
        options: PeerOptions,
        limits: SessionLimits,
        grace_s: float,
        on_change: Callable[[], None],
    ) -> None:
        self._camera = camera
        self._conductor = conductor
        self._max_viewers = max_viewers
        self._options = options
        self._new_sender = choose_sender()
        self._limits = limits
        self._grace_s = grace_s
        self._on_change = on_change
        self._entries: dict[str, _Entry] = {}
        self._just_ended: deque[str] = deque(maxlen=_ENDS_REMEMBERED)
        self._tasks: asyncio.TaskGroup | None = None
        self._link_number = 0
        self._closed_doors: str | None = None
        self._past = Totals()
        self.send: Callable[[FromDevice], None] = _nowhere

    @property
    def viewer_count(self) -> int:
        """How many sessions hold a place."""
        return sum(not entry.session.is_over for entry in self._entries.values())

    def totals(self) -> Totals:
        """Sum up all sessions, those that go on included."""
        totals = replace(self._past)
        for entry in self._entries.values():
            totals.add(entry.session.sender.tally)
        return totals

    def close_doors(self, why: str) -> None:
        """End every session and refuse new ones, for the reason `why`, until `open_doors`."""
        self._closed_doors = why
        for entry in self._entries.values():
            entry.session.fail(CameraSwitchedOff(why))

    def open_doors(self) -> None:
        """Admit viewers again."""
        self._closed_doors = None

    async def run(self) -> NoReturn:
        """Own the task of every session until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            await warm_up(self._new_sender())
            await self._conductor.run()
        raise AssertionError("waits for ever")

    def open(self, request: DeviceWatchRequest.Payload) -> None:
        """Start a session, or start it anew if its id is known."""
        assert self._tasks is not None, "run() owns the sessions"
        known = self._entries.pop(request.session_id, None)
        if known is not None:
            known.session.end("replaced by a new watch_request")
        if why := self._refusal():
            log.warning(
                "session.refused",
                session_id=request.session_id,
                user_id=request.user_id,
                why=why,
            )
            self._tell(request.session_id, "error", why)
            return
        session = Session(
            request.session_id,
            ice_servers=request.ice_servers,
            options=self._options,
            limits=self._limits,
            camera=self._camera,
            sender=self._new_sender(),
            expect_frames=self._conductor.expect,
            serve_frames=self._conductor.served,
            send=self.send,
        )
        entry = _Entry(session, request.user_id, self._link_number)
        self._entries[request.session_id] = entry
        self._tasks.create_task(self._run_contained(entry), name=f"session {request.session_id}")
        self._on_change()

    def _refusal(self) -> str | None:
        """Say why nobody can be admitted now, in words for the viewer."""
        if self._closed_doors is not None:
            return self._closed_doors
        if self.viewer_count >= self._max_viewers:
            places = f"{self._max_viewers} viewer{'s' if self._max_viewers > 1 else ''}"
            return f"this camera serves at most {places} at once"
        return None

    def find(self, session_id: str, message_type: str) -> Session | None:
        """Look a session up for a message that the server sent; without one, warn."""
        entry = self._entries.get(session_id)
        if entry is None:
            # What crossed our own end on its way is no surprise.
            tell = log.debug if session_id in self._just_ended else log.warning
            tell("session.unknown", session_id=session_id, type=message_type)
            return None
        # Whoever speaks of a session can also end it.
        entry.link_number = self._link_number
        return entry.session

    def link_active(self) -> None:
        """Count a new link: what is opened from now on belongs to it."""
        self._link_number += 1

    def link_lost(self) -> None:
        """Let the sessions of the lost link go on for the grace, and no longer.

        Media does not flow through the WebSocket, so a short absence of the server is nothing to a
        viewer. After the grace they end, for the server can no longer take a viewer's right away.
        """
        if self._entries:
            log.info("session.grace", sessions=len(self._entries), grace_s=self._grace_s)
            loop = asyncio.get_running_loop()
            loop.call_later(self._grace_s, self._end_orphans, self._link_number)

    def _end_orphans(self, link_number: int) -> None:
        for entry in tuple(self._entries.values()):
            if entry.link_number <= link_number:
                entry.session.end("server away for longer than the grace")

    async def _run_contained(self, entry: _Entry) -> None:
        """Run one session to its end; log one line about it, whatever happened."""
        session = entry.session
        with structlog.contextvars.bound_contextvars(
            session_id=session.session_id, user_id=entry.user_id
        ):
            log.info("session.opened")
            outcome: BaseException = SessionEnded("agent stopped")
            try:
                await session.run()
            except* SessionError as group:
                outcome = _first(group)
            except* Exception as group:
                # The one broad net of the package: a session's fault stays its own.
                outcome = _first(group)
                log.exception("session.crashed")
            finally:
                if self._entries.get(session.session_id) is entry:
                    del self._entries[session.session_id]
                    self._just_ended.append(session.session_id)
                self._past.add(session.sender.tally)
                self._past.ended[type(outcome).__name__] += 1
                _log_end(session, outcome)
                self._on_change()
            self._explain(session, outcome)

    def _explain(self, session: Session, outcome: BaseException) -> None:
        """Tell the server of an end that it does not know of."""
        if not isinstance(outcome, SessionEnded):
            is_known = isinstance(outcome, SessionError)
            text = str(outcome) if is_known else "the camera agent failed; its log says why"
            self._tell(session.session_id, _REASONS.get(type(outcome), "error"), text)

    def _tell(self, session_id: str, reason: WatchEndReason, text: str) -> None:
        payload = WatchEnded.Payload(session_id=session_id, reason=reason, message=text[:1024])
        self.send(WatchEnded(payload=payload))


def _log_end(session: Session, outcome: BaseException) -> None:
    """The canonical line: why, how long, what was sent and how, and when each stage was reached."""
    ledger, tally, report = session.ledger, session.sender.tally, session.sender.report
    log.info(
        "session.closed",
        outcome=type(outcome).__name__,
        why=str(outcome),
        duration_s=ledger.elapsed_s(),
        frames=tally.frames,
        keyframes=tally.keyframes,
        frames_dropped=tally.frames_dropped,
        bytes=tally.payload_bytes,
        rung=tally.rung,
        rate_bps=tally.rate_bps,
        rate_why=tally.rate_why,
        packets_resent=tally.packets_resent,
        packets_lost=None if report is None else report.packets_lost,
        round_trip_ms=_milliseconds(None if report is None else report.round_trip_s),
        pair=ledger.pair_type,
        first_frame_ms=ledger.reached_ms.get("streaming"),
        stages_ms=" ".join(f"{stage}:{ms}" for stage, ms in ledger.reached_ms.items()),
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _nowhere(_message: FromDevice) -> None:
    """Before there is a link, nobody hears."""

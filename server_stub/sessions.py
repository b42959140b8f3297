"""Watch sessions: who watches what, whose messages go where, and how it ends.

Only the two ends of a session take part in it, but it belongs to its user, who may end it from
any connection. A viewer whose network changed has a new connection long before the old one is
known to be dead. It ends by name the session that it left there and then watches again: the
device hears of the end first, and has a place free when the new request comes. Nobody's new
session ends another by itself, so the same user may watch in two tabs.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from camagent.signaling.messages import Message, SignalAnswer, WatchEnded, WatchEndReason
from server_stub.connection import Connection

log = structlog.get_logger(__name__)


class End(Protocol):
    """One end of a session: a connection, or whatever else stands for a device or a viewer."""

    def send(self, message: Message) -> None:
        """Take a message; never block."""


@dataclass(eq=False)
class WatchSession:
    """One viewer watching one device, each at its end.

    `is_ours` is False where another instance of the relay has the viewer: that one sets the
    session's deadlines and writes it down. `has_place` is True where it counts against the limit
    of its user. `on_forgotten` is called if it is over without its ends' being told.
    """

    device_id: str
    user_id: str
    device: End
    viewer: End
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    is_ours: bool = True
    has_place: bool = False
    on_forgotten: Callable[[], None] = lambda: None
    is_answered: bool = False
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def other(self, end: End) -> End:
        """Give the end that `end` is not."""
        return self.device if end is self.viewer else self.viewer


class Sessions:
    """Every live session that has an end here.

    `on_start` and `on_end` (with the reason) write a session of ours down; they must not block.

    Attributes:
        longest_s: how long a session may last.
    """

    def __init__(
        self,
        *,
        answer_deadline_s: float,
        longest_s: float,
        on_start: Callable[[WatchSession], None],
        on_end: Callable[[WatchSession, WatchEndReason], None],
    ) -> None:
        self._answer_deadline_s = answer_deadline_s
        self.longest_s = longest_s
        self._on_start = on_start
        self._on_end = on_end
        self._live: dict[str, WatchSession] = {}
        self._of_end: defaultdict[End, set[WatchSession]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._live)

    def open(self, session: WatchSession) -> None:
        """Let messages of this session pass, until `end`."""
        self._live[session.session_id] = session
        for end in (session.device, session.viewer):
            self._of_end[end].add(session)
        log.info(
            "session.opened",
            session_id=session.session_id,
            device_id=session.device_id,
            user_id=session.user_id,
            is_ours=session.is_ours,
        )
        if session.is_ours:
            loop = asyncio.get_running_loop()
            session.timers = [
                loop.call_later(self._answer_deadline_s, self._end_unanswered, session),
                loop.call_later(self.longest_s, self.end, session, "timeout"),
            ]
            self._on_start(session)

    def live(self) -> tuple[WatchSession, ...]:
        """List the sessions that an end of is here."""
        return tuple(self._live.values())

    def get(self, session_id: str) -> WatchSession | None:
        """Look up a session, whoever its ends are."""
        return self._live.get(session_id)

    def of(self, end: End) -> tuple[WatchSession, ...]:
        """List the sessions that this is an end of."""
        return tuple(self._of_end.get(end, ()))

    def is_live(self, session_id: str) -> bool:
        """Tell whether there is such a session, whoever its ends are."""
        return session_id in self._live

    def find(self, session_id: str, end: End) -> WatchSession | None:
        """Look up a session that `end` is an end of."""
        session = self._live.get(session_id)
        if session is not None and end in (session.device, session.viewer):
            return session
        return None

    def find_of_user(self, session_id: str, user_id: str) -> WatchSession | None:
        """Look up a session that this user started, over whichever connection."""
        session = self._live.get(session_id)
        return session if session is not None and session.user_id == user_id else None

    def forward(self, session_id: str, sender: End, message: Message) -> bool:
        """Pass a message to the other end; false if it is not in a session of the sender's."""
        session = self.find(session_id, sender)
        if session is None:
            return False
        if isinstance(message, SignalAnswer):
            session.is_answered = True
        receiver = session.other(sender)
        if (
            receiver is session.device
            and isinstance(receiver, Connection)
            and not receiver.has_room
        ):
            # Whoever watches through another instance cannot be held up. One of many that watch
            # must not have the device cut off.
            self.end(session, "error", message="the camera could not take so many messages")
        else:
            receiver.send(message)
        return True

    def end(
        self,
        session: WatchSession,
        reason: WatchEndReason,
        *,
        ended_by: End | None = None,
        message: str | None = None,
    ) -> None:
        """End a session: tell whoever did not end it, and write it down. Again is nothing."""
        if not self._close(session, reason):
            return
        payload = WatchEnded.Payload(session_id=session.session_id, reason=reason, message=message)
        for end in (session.device, session.viewer):
            if end is not ended_by:
                end.send(WatchEnded(payload=payload))
        log.info("session.ended", session_id=session.session_id, reason=reason, message=message)

    def exchange(self, session: WatchSession, old: End, new: End) -> None:
        """Let `new` be the end of a live session that `old` was."""
        self._leave(session, old)
        if old is session.device:
            session.device = new
        else:
            session.viewer = new
        self._of_end[new].add(session)

    def end_all_of(self, end: End, reason: WatchEndReason) -> None:
        """End every session of an end that is gone."""
        for session in self.of(end):
            self.end(session, reason, ended_by=end)

    def held_by(self, connection: Connection, reason: WatchEndReason) -> "_Held":
        """End every session of a connection with the block.

        For `reason` if it went away, and as `error` if it failed by us or took no message.
        """
        return _Held(self, connection, reason)

    def forget(self, session: WatchSession, reason: WatchEndReason) -> None:
        """Write a session off without telling its ends, whose picture may go on."""
        if self._close(session, reason):
            session.on_forgotten()

    def _close(self, session: WatchSession, reason: WatchEndReason) -> bool:
        """Take a session out and write that down; false if it was out already."""
        if self._live.pop(session.session_id, None) is None:
            return False
        for timer in session.timers:
            timer.cancel()
        for end in (session.device, session.viewer):
            self._leave(session, end)
        if session.is_ours:
            self._on_end(session, reason)
        return True

    def _leave(self, session: WatchSession, end: End) -> None:
        self._of_end[end].discard(session)
        if not self._of_end[end]:
            del self._of_end[end]

    def _end_unanswered(self, session: WatchSession) -> None:
        if not session.is_answered:
            self.end(session, "timeout", message="the camera did not answer in time")


class _Held:
    """See `Sessions.held_by`. No generator, which is ten times as large, with thousands connected."""

    __slots__ = ("_connection", "_reason", "_sessions")

    def __init__(self, sessions: Sessions, connection: Connection, reason: WatchEndReason) -> None:
        self._sessions = sessions
        self._connection = connection
        self._reason = reason

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_fault = kind is not None and issubclass(kind, Exception)
        reason = "error" if is_fault or self._connection.is_stuck else self._reason
        self._sessions.end_all_of(self._connection, reason)

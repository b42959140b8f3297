"""Sessions with one end here and the other at another instance of the relay."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

from camagent.signaling.messages import Error, Message, WatchEndReason, encode
from server_stub.envelopes import Signal
from server_stub.routing import Routing
from server_stub.sessions import Sessions, WatchSession

Side = Literal["device", "viewer"]


class RemoteEnd:
    """The end of a session whose connection another instance has. Made by `SharedSessions`."""

    def __init__(
        self, shared: "SharedSessions", instance_id: str, session_id: str, side: Side
    ) -> None:
        self.instance_id = instance_id
        self.session_id = session_id
        self.side: Side = side
        self._shared = shared

    @property
    def loss(self) -> WatchEndReason:
        """Why a session is over that has lost this end."""
        return "device_disconnected" if self.side == "device" else "viewer_disconnected"

    def send(self, message: Message) -> None:
        """Send a message there; never blocks. Whoever sent it hears if it does not arrive."""
        self._shared.signal(self, message)


class SharedSessions:
    """The sessions among `sessions` that have an end elsewhere."""

    def __init__(self, routing: Routing, sessions: Sessions) -> None:
        self._routing = routing
        self._sessions = sessions

    def end_at(self, instance_id: str, session_id: str, side: Side) -> RemoteEnd:
        """Make the end of a session that is at another instance."""
        return RemoteEnd(self, instance_id, session_id, side)

    def signal(self, to: RemoteEnd, message: Message) -> None:
        """Send a message to an end elsewhere."""
        envelope = Signal(
            sender=self._routing.instance_id,
            session_id=to.session_id,
            text=encode(message),
        )

        def on_lost(is_nobody: bool) -> None:  # noqa: FBT001 - as `Routing.send` has it
            self._answer_lost(to, message, is_nobody=is_nobody)

        self._routing.send(to.instance_id, envelope, on_lost)

    def by_instance(self) -> dict[str, list[WatchSession]]:
        """Group them by where the other end is."""
        groups: defaultdict[str, list[WatchSession]] = defaultdict(list)
        for session in self._sessions.live():
            if remote := remote_end(session):
                groups[remote.instance_id].append(session)
        return groups

    def among(self, instance_id: str, session_ids: Iterable[str]) -> list[WatchSession]:
        """Find those of these that we share with this instance."""
        found = [session for one in session_ids if (session := self._sessions.get(one))]
        return [one for one in found if (r := remote_end(one)) and r.instance_id == instance_id]

    def lose(self, session: WatchSession) -> None:
        """End a session whose other half is gone; there may be nobody else to write that down.

        Nothing happens if that half has said meanwhile that it leaves.
        """
        remote = remote_end(session)
        if remote is None:
            return
        session.is_ours = True
        self._sessions.end(session, remote.loss, ended_by=remote)

    def _answer_lost(self, to: RemoteEnd, message: Message, *, is_nobody: bool) -> None:
        """Let whoever sent a message know that it did not arrive."""
        session = self._sessions.find(to.session_id, to)
        if session is None:
            return
        if is_nobody and self._routing.is_settled:
            self.lose(session)
        else:
            session.other(to).send(unreachable(message))


def unreachable(message: Message) -> Error:
    """Say to whoever sent a message that it did not arrive."""
    text = Error.Payload(message="The other end cannot be reached now")
    return Error(request_id=message.request_id, payload=text)


def remote_end(session: WatchSession) -> RemoteEnd | None:
    """Give the end of a session that is elsewhere, if there is one."""
    for end in (session.device, session.viewer):
        if isinstance(end, RemoteEnd):
            return end
    return None

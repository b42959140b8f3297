"""Sessions whose other end left with its instance: their pictures go on, but not beyond the grace.

Media does not pass through the relay, so the stop of an instance is nothing to a picture. Viewers
come back elsewhere, end by name what they left behind, and watch anew. Some never do, and a device
that came back elsewhere tells nobody of its old sessions. So whoever stayed keeps its half: until
the session is over, rights are looked at, and whoever may end it can.
"""

import asyncio
from collections.abc import Callable, Mapping

from camagent.signaling.messages import Message, WatchEnded, encode
from server_stub.envelopes import Tell
from server_stub.redis_presence import RedisPresence
from server_stub.routing import Routing, new_request
from server_stub.sessions import End, Sessions, WatchSession
from server_stub.shared import RemoteEnd, remote_end, unreachable

# As long as an agent goes on without the server, unless its settings have another grace.
_GRACE_S = 30.0


class Absences:
    """The sessions among `sessions` whose other instance said that it leaves."""

    def __init__(
        self,
        routing: Routing,
        presence: RedisPresence,
        sessions: Sessions,
        devices: Mapping[str, End],
    ) -> None:
        self._routing = routing
        self._presence = presence
        self._sessions = sessions
        self._devices = devices

    def keep(self, session: WatchSession) -> None:
        """Let a session go on for the grace; one without an answer, which has no picture, is over."""
        remote = remote_end(session)
        assert remote is not None, "who leaves names sessions that it shares with us"
        if not session.is_answered:
            self._sessions.end(session, remote.loss, ended_by=remote)
            return
        self._sessions.exchange(session, remote, self._absent(session, remote))
        loop = asyncio.get_running_loop()
        over = loop.call_later(_GRACE_S, self._sessions.end, session, remote.loss)
        session.timers.append(over)  # cancelled with the session's own

    def _absent(self, session: WatchSession, remote: RemoteEnd) -> End:
        if remote.side == "viewer":
            return _AbsentViewer()
        return _AbsentDevice(session.viewer, lambda end: self._tell(session.device_id, end))

    def _tell(self, device_id: str, end: WatchEnded) -> None:
        """Tell a device of an end wherever it came back, if it did."""
        if device := self._devices.get(device_id):
            device.send(end)
            return
        own = self._routing.instance_id

        def tell(instance_id: str) -> None:
            if instance_id != own:
                request, text = new_request(), encode(end)
                told = Tell(sender=own, request=request, device_id=device_id, text=text)
                self._routing.send(instance_id, told)

        self._presence.when_found(device_id, tell)


class _AbsentViewer:
    """The viewer's end: nobody is there."""

    def send(self, message: Message) -> None:
        """Let a message go."""


class _AbsentDevice:
    """The device's end: it hears of the session's end by `tell`, and of nothing else."""

    def __init__(self, viewer: End, tell: Callable[[WatchEnded], None]) -> None:
        self._viewer = viewer
        self._tell = tell

    def send(self, message: Message) -> None:
        """Pass an end on; to anything else the viewer hears that it did not arrive."""
        if isinstance(message, WatchEnded):
            self._tell(message)
        else:
            self._viewer.send(unreachable(message))

"""What one instance of a relay does for the others."""

from collections.abc import Mapping

import structlog

from camagent.errors import MalformedMessage
from camagent.signaling.messages import TO_DEVICE, TO_VIEWER, Message, WatchEnded
from server_stub.absences import Absences
from server_stub.envelopes import (
    Asked,
    Call,
    Compare,
    EndWatch,
    Envelope,
    Forget,
    Open,
    Replaced,
    Reply,
    Signal,
    Tell,
    Unknown,
)
from server_stub.quotas import WatchLimits
from server_stub.redis_presence import RedisPresence
from server_stub.routing import Routing
from server_stub.sessions import End, Sessions, WatchSession
from server_stub.shared import SharedSessions, remote_end
from server_stub.whep_session import Visit, VisitRefused, receive, signals

log = structlog.get_logger(__name__)


class Answering:
    """Takes every envelope that is for us."""

    def __init__(
        self,
        routing: Routing,
        presence: RedisPresence,
        sessions: Sessions,
        shared: SharedSessions,
        devices: Mapping[str, End],
        *,
        limits: WatchLimits,
    ) -> None:
        self._routing = routing
        self._presence = presence
        self._sessions = sessions
        self._shared = shared
        self._absences = Absences(routing, presence, sessions, devices)
        self._devices = devices
        self._limits = limits

    def take(self, envelope: Envelope) -> None:
        """Do what another instance asks, or note what it tells."""
        match envelope:
            case EndWatch() | Tell():
                self._reply(envelope, is_done=self._do(envelope))
            case Open():
                refusal = self._refuse(envelope)
                is_done = not refusal and self._open(envelope)
                self._reply(envelope, is_done=is_done, refusal=refusal)
            case Call():
                refusal = self._receive(envelope.visit)
                self._reply(envelope, is_done=not refusal, refusal=refusal)
            case Replaced():
                self._presence.take_replaced(envelope.device_id, envelope.holder)
            case Signal():
                self._pass_on(envelope)
            case Forget() | Compare() | Unknown():
                self._agree(envelope)

    def _reply(self, asked: Asked, *, is_done: bool, refusal: str = "") -> None:
        own = self._routing.instance_id
        reply = Reply(sender=own, request=asked.request, is_done=is_done, refusal=refusal)
        self._routing.send(asked.sender, reply)

    def _receive(self, visit: Visit) -> str:
        """Do what a request to a WHEP session asks; say why not, if it changes nothing."""
        try:
            _, viewer = receive(self._sessions, visit)
        except VisitRefused as refusal:
            return str(refusal)
        if visit.fragment is not None:
            # As the signals of viewers elsewhere, whom a device without room cannot hold up.
            for signal in signals(visit.session_id, viewer, visit.fragment):
                self._sessions.forward(visit.session_id, viewer, signal)
        return ""

    def _do(self, asked: EndWatch | Tell) -> bool:
        """Do what somebody waits for; false if it cannot be done here."""
        match asked:
            case EndWatch():
                session = self._sessions.find_of_user(asked.session_id, asked.user_id)
                if session is not None:
                    self._sessions.end(session, "user_ended")
                return session is not None
            case Tell():
                device = self._devices.get(asked.device_id)
                if device is not None:
                    self._tell(device, TO_DEVICE.decode(asked.text))
                return device is not None

    def _tell(self, device: End, message: Message) -> None:
        """Tell a device of an end, and with it end our half, which we may have kept."""
        if isinstance(message, WatchEnded):
            end = message.payload
            if session := self._sessions.find(end.session_id, device):
                self._sessions.end(session, end.reason, message=end.message)
                return
        device.send(message)

    def _agree(self, told: Forget | Compare | Unknown) -> None:
        """Come to one view of the sessions that we share with an instance."""
        here = self._shared.among(told.sender, told.session_ids)
        match told:
            case Forget():
                for session in here:
                    self._absences.keep(session)
            case Compare():
                known = {session.session_id for session in here}
                self._say_unknown(told.sender, set(told.session_ids) - known)
            case Unknown():
                for session in here:
                    self._shared.lose(session)

    def _refuse(self, asked: Open) -> str:
        """Say why its device may not be watched by one more, if it is here and may not."""
        device = self._devices.get(asked.device_id)
        viewers = 0 if device is None else len(self._sessions.of(device))
        return self._limits.refuse_viewer(viewers) or ""

    def _open(self, asked: Open) -> bool:
        """Open our half of a session; false if its device is not here."""
        device = self._devices.get(asked.device_id)
        if device is None or self._sessions.is_live(asked.session_id):
            return False
        wanted = TO_DEVICE.decode(asked.text)
        session = WatchSession(
            asked.device_id,
            asked.user_id,
            device,
            self._shared.end_at(asked.sender, asked.session_id, "viewer"),
            session_id=asked.session_id,
            is_ours=False,
        )
        self._sessions.open(session)
        device.send(wanted)
        return True

    def _pass_on(self, signal: Signal) -> None:
        """Hand a message of a session to its end here."""
        found = self._shared.among(signal.sender, (signal.session_id,))
        if not found:
            self._say_unknown(signal.sender, {signal.session_id})
            return
        (session,) = found
        remote = remote_end(session)
        assert remote is not None
        message: Message
        try:
            decode = TO_VIEWER.decode if remote.side == "device" else TO_DEVICE.decode
            message = decode(signal.text)
        except MalformedMessage as error:
            log.warning("instance.message_ignored", problem=str(error))
            return
        if isinstance(message, WatchEnded):
            end = message.payload
            self._sessions.end(session, end.reason, ended_by=remote, message=end.message)
        else:
            self._sessions.forward(signal.session_id, remote, message)

    def _say_unknown(self, instance_id: str, session_ids: set[str]) -> None:
        if session_ids:
            envelope = Unknown(sender=self._routing.instance_id, session_ids=tuple(session_ids))
            self._routing.send(instance_id, envelope)

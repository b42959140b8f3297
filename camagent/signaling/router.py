"""Which message goes to whom."""

from collections.abc import Callable

import structlog

from camagent.signaling.messages import (
    DeviceHelloAck,
    DeviceWatchRequest,
    Error,
    HeartbeatAck,
    SignalIce,
    SignalOffer,
    ToDevice,
    WatchEnded,
)
from camagent.webrtc.registry import SessionRegistry

log = structlog.get_logger(__name__)


class Router:
    """Stands between the link and the sessions; `on_change` is told when the link comes or goes."""

    def __init__(
        self, registry: SessionRegistry, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._registry = registry
        self._on_change = on_change

    def link_active(self) -> None:
        """Tell the sessions that the server is there."""
        self._registry.link_active()
        self._on_change()

    def link_lost(self) -> None:
        """Start the grace of the sessions that the server can no longer end."""
        self._registry.link_lost()
        self._on_change()

    def take(self, message: ToDevice) -> None:
        """Hand `message` to the session it is for; without one it is dropped with a warning."""
        match message:
            case DeviceWatchRequest(payload=request):
                self._registry.open(request)
            case SignalOffer(payload=signal):
                if session := self._registry.find(signal.session_id, message.type):
                    session.take_offer(signal.sdp.sdp)
            case SignalIce(payload=signal):
                if session := self._registry.find(signal.session_id, message.type):
                    session.take_candidate(
                        None if signal.is_end_of_candidates else signal.candidate
                    )
            case WatchEnded(payload=end):
                if session := self._registry.find(end.session_id, message.type):
                    session.end(end.reason)
            case DeviceHelloAck() | HeartbeatAck() | Error():
                log.debug("router.not_for_a_session", type=message.type)

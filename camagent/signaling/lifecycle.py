"""Where the device's connection stands: the lifecycle of the protocol, and its one door."""

import enum

import structlog

log = structlog.get_logger(__name__)


class LinkState(enum.Enum):
    """The device connection lifecycle of the protocol."""

    CONNECTING = "connecting"
    """The WebSocket is opening."""

    CONNECTED = "connected"
    """It is open; nothing has been said."""

    HELLO_SENT = "hello_sent"
    """The server knows who we claim to be."""

    AUTHENTICATED = "authenticated"
    """The server answered with hello_ack."""

    ACTIVE = "active"
    """Watch requests may come."""

    DISCONNECTING = "disconnecting"
    """The socket is closing, by either side's wish."""

    DISCONNECTED = "disconnected"
    """No socket. The next attempt waits for its time."""


_NEXT: dict[LinkState, frozenset[LinkState]] = {
    LinkState.CONNECTING: frozenset({LinkState.CONNECTED, LinkState.DISCONNECTED}),
    LinkState.CONNECTED: frozenset({LinkState.HELLO_SENT, LinkState.DISCONNECTING}),
    LinkState.HELLO_SENT: frozenset({LinkState.AUTHENTICATED, LinkState.DISCONNECTING}),
    LinkState.AUTHENTICATED: frozenset({LinkState.ACTIVE, LinkState.DISCONNECTING}),
    LinkState.ACTIVE: frozenset({LinkState.DISCONNECTING}),
    LinkState.DISCONNECTING: frozenset({LinkState.DISCONNECTED}),
    LinkState.DISCONNECTED: frozenset({LinkState.CONNECTING}),
}


class Lifecycle:
    """The state of one device's connection."""

    def __init__(self) -> None:
        self._state = LinkState.DISCONNECTED

    @property
    def state(self) -> LinkState:
        """Where it stands."""
        return self._state

    def enter(self, state: LinkState) -> None:
        """Move to `state` and log it; any other move is a bug, not an event."""
        assert state in _NEXT[self._state], f"{self._state.name} -> {state.name}"
        log.debug("link.state", previous=self._state.value, state=state.value)
        self._state = state

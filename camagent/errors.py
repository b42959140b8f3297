"""Everything this agent fails with on purpose.

    AgentError
    ├── SettingsError           a setting is wrong; the start stops (exit status 78)
    ├── DemoError               the demo's relay does not run
    ├── SnapshotError           `camagent snapshot` has no picture, or nowhere to put it
    ├── CameraError             no picture: absent, busy, stalled or without an encoder; tried again
    │   ├── CameraRefused       what was asked of the camera is not what it can do
    │   └── RestartNeeded       only a new process can get the camera back; this one ends
    │       └── CameraHung      the camera's own code does not come back
    ├── LinkError               the WebSocket is unusable; reconnect
    │   ├── LinkRejected        the server refused this device; wait the longest delay
    │   ├── ServerVanished      it ended without a goodbye, for every device; do not come in step
    │   └── ClockNotSet         no certificate can be checked before the clock is set; soon again
    ├── MalformedMessage        a text that is no message of the protocol; dropped, the link stays
    └── SessionError            one viewer's session is over; the others go on
        ├── NegotiationFailed   no usable offer arrived in time
        ├── ConnectFailed       descriptions agreed, ICE or DTLS did not come up
        ├── CameraUnavailable   the camera cannot serve the viewer now
        ├── CameraSwitchedOff   somebody at the device does not want it to be watched
        ├── ViewerLost          the peer connection went away
        ├── SessionTooLong      the longest duration is over
        └── SessionEnded        somebody wished it so: the server, or this agent

`LinkError` is caught in `signaling/link.py`, `CameraError` in `media/capture.py`, `SessionError` in
`webrtc/registry.py`, `MalformedMessage` where a text is read, everything else in `__main__.py`.
"""

import time


class AgentError(Exception):
    """Base class; never raised itself."""


class SettingsError(AgentError):
    """Settings that cannot be used; `problems` holds one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class DemoError(AgentError):
    """The demo cannot go on; the text says what is missing or stopped."""


class SnapshotError(AgentError):
    """No picture of the running agent, or no file for it; the text says why."""


class CameraError(AgentError):
    """The camera or its encoder cannot deliver frames; the text says why."""


class CameraRefused(CameraError):
    """The camera lacks what the settings ask of it; `problems` holds one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class RestartNeeded(CameraError):
    """The camera cannot be had back in this process; a new one may get it."""


class CameraHung(RestartNeeded):
    """A call into the camera did not return in time."""


class LinkError(AgentError):
    """The connection to the signaling server cannot be used."""


class LinkRejected(LinkError):
    """The server answered, and does not want this device."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"server rejected this device: {reason or 'no reason given'} ({code})")
        self.code = code


class ServerVanished(LinkError):
    """The server's end broke off without a goodbye, as it does for all when it dies."""

    def __init__(self) -> None:
        super().__init__("connection lost without a goodbye")


class ClockNotSet(LinkError):
    """The server's certificate is not valid yet by the clock of this device."""

    def __init__(self, now_s: float) -> None:
        here = time.strftime("%Y-%m-%d %H:%M", time.gmtime(now_s))
        super().__init__(
            f"the clock is not set yet: here it is {here} UTC, before the server's certificate"
        )


class MalformedMessage(AgentError):
    """A text that is no message of this direction.

    Attributes:
        request_id: what the sender called it, if that much could be read.
    """

    def __init__(self, problem: str, *, request_id: str | None = None) -> None:
        super().__init__(problem)
        self.request_id = request_id


class SessionError(AgentError):
    """One viewer's session cannot go on."""


class NegotiationFailed(SessionError):
    """The viewer's offer was late, malformed, or had no codec of ours."""


class ConnectFailed(SessionError):
    """ICE or DTLS did not come up in time."""


class CameraUnavailable(SessionError):
    """The camera cannot serve this viewer; the text is for the viewer to read."""


class CameraSwitchedOff(SessionError):
    """The kill switch is on; the text is for the viewer to read."""


class ViewerLost(SessionError):
    """The peer connection failed or was closed by the viewer."""


class SessionTooLong(SessionError):
    """The longest duration that the settings allow is over."""


class SessionEnded(SessionError):
    """The session was ended on purpose; the text is the reason."""

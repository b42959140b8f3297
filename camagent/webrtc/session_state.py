"""Where a session stands, and when it got there."""

import enum
import time
from dataclasses import dataclass, field


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

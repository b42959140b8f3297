"""Where the camera stands, and where it may go from there."""

import enum


class CaptureState(enum.Enum):
    """Where the camera stands."""

    IDLE = "idle"
    """It is closed, and nobody watches."""

    STARTING = "starting"
    """It is being opened, for the first time or anew; no frame has come since."""

    LIVE = "live"
    """Frames come, and somebody wants them."""

    LINGERING = "lingering"
    """Frames come; the last viewer left a short while ago."""

    FAILED = "failed"
    """It could not be opened, or gave no frame. The next attempt waits for its time."""


NEXT: dict[CaptureState, frozenset[CaptureState]] = {
    CaptureState.IDLE: frozenset({CaptureState.STARTING}),
    CaptureState.STARTING: frozenset(
        {CaptureState.LIVE, CaptureState.LINGERING, CaptureState.FAILED}
    ),
    CaptureState.LIVE: frozenset(
        {CaptureState.LINGERING, CaptureState.STARTING, CaptureState.FAILED}
    ),
    CaptureState.LINGERING: frozenset({CaptureState.LIVE, CaptureState.IDLE, CaptureState.FAILED}),
    CaptureState.FAILED: frozenset({CaptureState.STARTING}),
}

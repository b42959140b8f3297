"""What a session needs of whatever sends its video, and how that counts what it sent."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from aiortc import RTCPeerConnection, RTCRtpTransceiver

from camagent.media.frame import EncodedFrame
from camagent.webrtc.reception import Report


@dataclass
class Tally:
    """What one viewer was sent.

    Attributes:
        frames: H.264 access units, keyframes among them; `bytes` is their size.
        frames_dropped: kept from the viewer, who waits for a keyframe.
        packets, payload_bytes: RTP as sender reports count it, retransmissions apart.
        packets_resent: retransmissions.
        padding_bytes: what went out once more, to learn whether the way takes it.
        keyframes_asked: PLI and FIR (RFC 4585, RFC 5104) that came.
        rung: which one it was, last: main, low, or the low one's stills.
        rate_bps, rate_why: what its way was believed to take, last, and what had told so.
    """

    frames: int = 0
    keyframes: int = 0
    frames_dropped: int = 0
    bytes: int = 0
    packets: int = 0
    payload_bytes: int = 0
    packets_resent: int = 0
    padding_bytes: int = 0
    keyframes_asked: int = 0
    rung: str = "main"
    rate_bps: int = 0
    rate_why: str = ""


def _nothing(*_news: object) -> None:
    """Nobody follows."""


@dataclass(frozen=True)
class Followers:
    """Who hears what a viewer says, at once; none of them raises.

    Attributes:
        request_keyframe: the viewer cannot go on without one.
        take_report: a receiver report came.
        take_flood: this share of what was sent of late was missed, far too much to be repaired.
        take_estimate: the viewer told the most that it can receive, in bits per second (REMB).
    """

    request_keyframe: Callable[[], None] = _nothing
    take_report: Callable[[Report], None] = _nothing
    take_flood: Callable[[float], None] = _nothing
    take_estimate: Callable[[int], None] = _nothing


class Sender(Protocol):
    """One viewer's video: a subscriber of the hub on one side, RTP on the other."""

    tally: Tally
    first_frame_sent: asyncio.Event
    padding_per_frame_bytes: int
    """How much of each frame to send once more, and again, to learn whether the way takes it."""
    ceiling_bps: int | None
    """The most that its viewer wants, if it has said so."""

    def follow(self, followers: Followers) -> None:
        """Tell `followers` from now on, and nobody else."""

    @property
    def media_clock_offset(self) -> int | None:
        """The RTP timestamp at which the clock of the sender reports is zero; None if unknown."""

    @property
    def report(self) -> Report | None:
        """What the viewer reported last."""

    def add_to(self, connection: RTCPeerConnection) -> RTCRtpTransceiver:
        """Add the video to a new peer connection, to be sent only."""

    def agree_playout_delay(self, extension_id: int) -> bool:
        """Send the header extension that asks to show pictures at once; false if it cannot."""

    def take(self, frame: EncodedFrame) -> None:
        """Send or drop `frame`; never block, never raise."""

    async def run(self) -> NoReturn:
        """Report to the viewer while it is connected.

        Raises:
            ViewerLost: the viewer has not reported for long.
        """

    def stop(self) -> None:
        """Send nothing more."""

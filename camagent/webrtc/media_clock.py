"""One viewer's media clock: capture times as RTP timestamps, and both as the times of sender reports.

    capture (monotonic) ──┬── RTP timestamp: 90 kHz from a random origin
                          └── NTP time of sender reports: Unix time as it was when the clock was made

A viewer that knows `direct_offset`, which the answer tells, reads from any frame's RTP timestamp when
its picture was captured, on the clock of the sender reports; and by when those reports arrive, how
far that clock is from its own. So the delay from capture to display is measured without a mark in
the picture or a byte in a packet. A device's wall clock may be wrong by hours, and be set while
somebody watches: here it is looked at once. Pure.
"""

import time
from collections.abc import Callable

from camagent.webrtc.rtcp import ntp_time

_32_BITS = 0xFFFF_FFFF
_NTP_EPOCH_US = -ntp_time(0) // (1 << 32) * 1_000_000
_STEP_US = 100
"""Nine ticks of RTP: in these steps one clock is an exact multiple of the other."""


class MediaClock:
    """Counts for one viewer; `origin` is the RTP timestamp at the beginning of the monotonic clock."""

    def __init__(
        self,
        origin: int,
        *,
        unix_time_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._origin = origin
        self._monotonic_ns = monotonic_ns
        ahead_us = (unix_time_ns() - monotonic_ns()) // 1_000
        self._ahead_us = ahead_us - ahead_us % _STEP_US

    @property
    def now_us(self) -> int:
        """The monotonic clock, by which frames are captured."""
        return self._monotonic_ns() // 1_000

    def rtp_timestamp(self, captured_at_us: int) -> int:
        """Count in 1/90,000 s (RFC 6184, section 5.1)."""
        return self._origin + captured_at_us * 9 // _STEP_US & _32_BITS

    def ntp(self, at_us: int) -> int:
        """Write a time of the monotonic clock as a sender report does (RFC 3550, section 4)."""
        return ntp_time((at_us + self._ahead_us) * 1_000)

    @property
    def direct_offset(self) -> int:
        """The RTP timestamp at which the clock of the sender reports is zero (RFC 7273, section 5.2)."""
        return self.rtp_timestamp(_NTP_EPOCH_US - self._ahead_us)

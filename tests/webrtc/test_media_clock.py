"""A viewer's media clock: what a page makes of it, and what a clock that is set does to it."""

from camagent.webrtc.media_clock import MediaClock

NTP_EPOCH_S = 2_208_988_800
WRAP = 1 << 32


class Clocks:
    """A wall clock and a monotonic one."""

    def __init__(self, unix_s: float, monotonic_s: float) -> None:
        self.unix_ns = round(unix_s * 1e9)
        self.monotonic_ns = round(monotonic_s * 1e9)

    def media_clock(self, origin: int = 4_000_000_000) -> MediaClock:
        return MediaClock(
            origin, unix_time_ns=lambda: self.unix_ns, monotonic_ns=lambda: self.monotonic_ns
        )

    def go_on(self, seconds: float) -> None:
        self.unix_ns += round(seconds * 1e9)
        self.monotonic_ns += round(seconds * 1e9)


def captured_at_ntp_s(clock: MediaClock, rtp_timestamp: int, *, near_ntp_s: float) -> float:
    """Do what the page does: find the time nearest to now that has this RTP timestamp."""
    now_ticks = clock.direct_offset + round(near_ntp_s * 90_000)
    age = (now_ticks - rtp_timestamp + WRAP // 2) % WRAP - WRAP // 2
    return near_ntp_s - age / 90_000


def test_a_frame_is_traced_to_its_capture() -> None:
    """By its RTP timestamp, and to within a tick, also days after the start."""
    clocks = Clocks(unix_s=1_800_000_000.123, monotonic_s=77.5)
    clock = clocks.media_clock()
    for _ in range(3):
        clocks.go_on(100_000.25)
        captured_at_us = clock.now_us - 40_000
        ntp_s = clock.ntp(clock.now_us) / WRAP
        found_s = captured_at_ntp_s(clock, clock.rtp_timestamp(captured_at_us), near_ntp_s=ntp_s)
        assert abs(ntp_s - found_s - 0.040) < 0.000_05


def test_a_report_tells_unix_time() -> None:
    """As it is while nobody sets the clock."""
    clocks = Clocks(unix_s=1_800_000_000.123, monotonic_s=77.5)
    clock = clocks.media_clock()
    clocks.go_on(10)

    ntp_s = clock.ntp(clock.now_us) / WRAP
    assert abs(ntp_s - NTP_EPOCH_S - clocks.unix_ns / 1e9) < 0.001


def test_a_clock_that_is_set_makes_no_jump() -> None:
    """A Pi that learns the time while somebody watches goes on counting from where it was."""
    clocks = Clocks(unix_s=12.0, monotonic_s=12.0)
    clock = clocks.media_clock()
    before = clock.ntp(clock.now_us), clock.direct_offset
    clocks.unix_ns += 1_800_000_000 * 10**9
    clocks.go_on(1)

    assert (clock.ntp(clock.now_us) - before[0]) / WRAP == 1
    assert clock.direct_offset == before[1]


def test_the_offset_fits_its_place() -> None:
    """It is an RTP timestamp."""
    for origin in (0, WRAP - 1):
        assert 0 <= Clocks(1_800_000_000, 5).media_clock(origin).direct_offset < WRAP

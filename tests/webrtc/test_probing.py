"""When a viewer that is sent little is tried with more."""

from itertools import pairwise

import pytest

from camagent.webrtc.bitrate import ViewerRate
from camagent.webrtc.probing import Probing
from tests.webrtc.test_bitrate import LIMITS
from tests.webrtc.test_retransmission import Clock

NEEDED_BPS = 2_000_000
LOOK_S = 0.25


class Tried:
    """A viewer that is sent 300 kbit/s, on a way that takes `takes_bps`."""

    def __init__(self, takes_bps: int) -> None:
        self.clock = Clock()
        self.rate = ViewerRate(LIMITS, start_bps=300_000, now_s=self.clock)
        self.probing = Probing(self.rate, now_s=self.clock)
        self.takes_bps = takes_bps
        self.tries_at_s: list[float] = []
        self.most_bps = 0
        self._was_trying = False

    def goes_on(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.clock.now_s += LOOK_S
            wanted_bps = self.probing.wanted_bps(NEEDED_BPS)
            self.most_bps = max(self.most_bps, wanted_bps)
            if wanted_bps and not self._was_trying:
                self.tries_at_s.append(self.clock.now_s)
            self._was_trying = wanted_bps > 0
            if wanted_bps > self.takes_bps:
                self.rate.take_estimate(round(0.9 * self.takes_bps))
                self.rate.take_estimate(round(0.8 * self.takes_bps))
            elif wanted_bps:
                self.rate.try_at(round(min(1.1 * self.rate.target_bps, wanted_bps)))


def test_a_way_that_takes_more_is_found_out() -> None:
    """After a while of nothing going wrong, by more and more, never far beyond what is needed."""
    viewer = Tried(takes_bps=5_000_000)
    viewer.goes_on(5)
    assert viewer.most_bps == 0
    viewer.goes_on(20)
    assert viewer.rate.target_bps >= NEEDED_BPS
    assert viewer.most_bps <= 1.1 * NEEDED_BPS


def test_a_way_that_does_not_is_left_alone_for_longer_and_longer() -> None:
    """Each try goes little beyond what the way takes, and the next one is twice as far off."""
    viewer = Tried(takes_bps=500_000)
    viewer.goes_on(600)
    first, second, *_ = gaps = [later - earlier for earlier, later in pairwise(viewer.tries_at_s)]
    assert second > 1.5 * first
    assert max(gaps) <= 120 + 20
    assert len(gaps) < 12
    assert viewer.most_bps < 1.5 * viewer.takes_bps


def test_who_moved_up_is_not_tried() -> None:
    """And when it moves down again, not at once."""
    viewer = Tried(takes_bps=5_000_000)
    viewer.goes_on(10)
    assert viewer.tries_at_s
    viewer.probing.is_over()
    assert viewer.probing.wanted_bps(NEEDED_BPS) == 0


@pytest.mark.parametrize("trouble_bps", [250_000, 100_000])
def test_after_trouble_there_is_a_pause(trouble_bps: int) -> None:
    """A way that just was too narrow for what it was sent is not tried with more."""
    viewer = Tried(takes_bps=5_000_000)
    viewer.clock.now_s += 60
    viewer.rate.take_estimate(2 * trouble_bps)
    viewer.rate.take_estimate(trouble_bps)
    assert not viewer.probing.is_due
    viewer.clock.now_s += 5
    assert viewer.probing.is_due

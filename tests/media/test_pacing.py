"""What keeps pictures evenly apart."""

import pytest

from camagent.media.pacing import Pace


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_deadlines_do_not_drift() -> None:
    """However long the work took, each deadline is a whole number of intervals from the start."""
    clock = Clock()
    pace = Pace(25, clock)
    for number, work_s in enumerate([0.001, 0.03, 0.0, 0.039] * 25, start=1):
        clock.now_s += work_s
        clock.now_s += pace.until_next_s()
        assert clock.now_s == pytest.approx(100 + number * 0.04)


def test_missed_deadlines_are_skipped() -> None:
    """After a long pause the next deadline is the next one due, not a burst of old ones."""
    clock = Clock()
    pace = Pace(25, clock)
    clock.now_s += 0.21
    assert pace.until_next_s() == pytest.approx(0.03)

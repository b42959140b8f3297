"""Which pictures are left out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.media.thinning import Thinning

US_PER_S = 1_000_000


def taken(thinning: Thinning, *, seconds: float, per_s: int, jitter_us: int = 0) -> list[int]:
    """Offer pictures, every other one a little early; give the times of those taken."""
    times_us = [
        number * US_PER_S // per_s - (jitter_us if number % 2 else 0)
        for number in range(1, round(seconds * per_s) + 1)
    ]
    return [at_us for at_us in times_us if thinning.takes(at_us)]


def test_until_a_rate_is_set_all_are_taken() -> None:
    """However they come."""
    assert len(taken(Thinning(), seconds=2, per_s=30)) == 60


@pytest.mark.parametrize("rate", [30, 25, 20, 15, 12, 10, 5, 1])
def test_so_many_are_taken(rate: int) -> None:
    """On average, from a camera that is not quite even."""
    thinning = Thinning()
    thinning.set_rate(rate)
    assert len(taken(thinning, seconds=20, per_s=30, jitter_us=3_000)) == pytest.approx(
        20 * rate, abs=2
    )


def test_they_are_even() -> None:
    """With 15 of 30 it is every second one."""
    thinning = Thinning()
    thinning.set_rate(15)
    # The first one comes when it comes.
    times_us = taken(thinning, seconds=5, per_s=30)[1:]
    gaps_us = [later - earlier for earlier, later in pairwise(times_us)]
    assert all(66_000 <= gap_us <= 67_000 for gap_us in gaps_us)


def test_a_pause_is_not_made_up_for() -> None:
    """After pictures were missing, those that come do not all count as late."""
    thinning = Thinning()
    thinning.set_rate(10)
    taken(thinning, seconds=1, per_s=30)
    after_us = 60 * US_PER_S
    burst = [thinning.takes(after_us + number * US_PER_S // 30) for number in range(30)]
    assert sum(burst) <= 12


@given(st.lists(st.integers(0, US_PER_S), max_size=100), st.integers(-5, 100))
def test_no_more_than_so_many(steps_us: list[int], rate: int) -> None:
    """At any times, but for the first and one that comes early."""
    thinning = Thinning()
    thinning.set_rate(rate)
    at_us, took = 0, 0
    for step_us in steps_us:
        at_us += step_us
        took += thinning.takes(at_us)
    assert took <= at_us * max(1, rate) / US_PER_S + 3

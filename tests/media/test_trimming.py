"""What an encoder is asked for, so that what is meant comes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.media.trimming import Trim

PICTURE_US = 33_333


def made_bps(trim: Trim, *, meant_bps: int, yields: float, pictures: int = 90) -> float:
    """Let an encoder make `yields` of what it is asked for; give what it makes in the end."""
    bps = 0.0
    for number in range(pictures):
        bps = yields * trim.asked_bps(meant_bps)
        size_bytes = round(bps * PICTURE_US / 8 / 1_000_000)
        trim.note(size_bytes=size_bytes, pts_us=number * PICTURE_US, meant_bps=meant_bps)
    return bps


@pytest.mark.parametrize("yields", [0.7, 0.9, 1.0, 1.1, 1.3])
def test_an_encoder_that_is_off_is_brought_back(yields: float) -> None:
    """Whether it makes too little or too much."""
    assert made_bps(Trim(), meant_bps=900_000, yields=yields) == pytest.approx(900_000, rel=0.06)


def test_an_encoder_that_needs_little_is_not_asked_for_ever_more() -> None:
    """A still scene takes few bits, and what moves next shall not cost many times what is meant."""
    trim = Trim()
    made_bps(trim, meant_bps=900_000, yields=0.01, pictures=1_000)
    assert trim.asked_bps(900_000) <= 1.7 * 900_000


@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 24), st.integers(0, 1 << 24), st.integers(1, 1 << 24)),
        max_size=60,
    )
)
def test_it_asks_for_about_what_is_meant(frames: list[tuple[int, int, int]]) -> None:
    """Whatever the frames are like."""
    trim, at_us = Trim(), 0
    for size_bytes, step_us, meant_bps in frames:
        at_us += step_us
        trim.note(size_bytes=size_bytes, pts_us=at_us, meant_bps=meant_bps)
        assert 0.6 * 1_000_000 <= trim.asked_bps(1_000_000) <= 1.7 * 1_000_000

"""What rate a viewer's way is believed to take."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.webrtc.bitrate import LEAST_BPS, RateLimits, ViewerRate
from camagent.webrtc.reception import Report
from tests.webrtc.test_retransmission import Clock

LIMITS = RateLimits(floor_bps=100_000, start_bps=800_000, ceiling_bps=2_500_000)
REPORTS_PER_S, PACKETS = 4, 100
FINE = Report(
    fraction_lost=0,
    packets_lost=0,
    highest_sequence=0,
    jitter_s=0,
    round_trip_s=0.02,
    latest_round_trip_s=0.02,
    at_s=0,
)


class Way:
    """A viewer that reports four times a second, and is sent what it is believed to take."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rate = ViewerRate(LIMITS, start_bps=LIMITS.start_bps, now_s=self.clock)
        self.report = FINE

    def reports(
        self,
        *,
        seconds: float = 1,
        loss: float = 0,
        queue_s: float = 0,
        sent_bps: int | None = None,
    ) -> int:
        """Report for so long, and give what the way is believed to take then."""
        for _ in range(round(seconds * REPORTS_PER_S)):
            self.clock.now_s += 1 / REPORTS_PER_S
            self.rate.sending_bps = self.rate.target_bps if sent_bps is None else sent_bps
            before = self.report
            self.report = replace(
                before,
                fraction_lost=loss,
                packets_lost=before.packets_lost + round(loss * PACKETS),
                highest_sequence=before.highest_sequence + PACKETS,
                latest_round_trip_s=0.02 + queue_s,
                at_s=self.clock.now_s,
            )
            self.rate.take_report(self.report)
        return self.rate.target_bps


@pytest.fixture
def way() -> Way:
    return Way()


def test_it_starts_where_it_is_told(way: Way) -> None:
    """Nothing is known yet."""
    assert way.rate.target_bps == LIMITS.start_bps
    assert way.rate.why == "start"


def test_a_clean_way_is_at_the_ceiling_soon(way: Way) -> None:
    """Within 8 s, and not above it ever."""
    assert way.reports(seconds=7) == LIMITS.ceiling_bps
    assert way.reports(seconds=20) == LIMITS.ceiling_bps
    assert way.rate.why == "the ceiling"


def test_a_falling_estimate_is_a_bound_at_once(way: Way) -> None:
    """With room left for retransmissions, and for the queue to empty."""
    way.rate.take_estimate(900_000)
    way.rate.take_estimate(600_000)

    assert 0.8 * 600_000 < way.rate.target_bps < 600_000
    assert way.rate.why == "the viewer's estimate"


def test_a_rising_estimate_that_lags_behind_holds_nobody_back(way: Way) -> None:
    """Chromium's grows by 8 % a second: from a drop on it would take half a minute."""
    way.rate.take_estimate(900_000)
    way.rate.take_estimate(500_000)
    way.clock.now_s += 3
    for second in range(15):
        way.rate.take_estimate(round(500_000 * 1.08**second))
        way.reports()

    assert way.rate.target_bps > 0.9 * LIMITS.ceiling_bps


def test_how_low_a_lagging_estimate_is_is_no_news(way: Way) -> None:
    """When it falls that tells of trouble, but at the rate that is being sent."""
    way.reports(seconds=10)
    way.rate.take_estimate(1_000_000)
    assert way.rate.target_bps == LIMITS.ceiling_bps
    way.rate.take_estimate(950_000)

    assert 0.7 * LIMITS.ceiling_bps < way.rate.target_bps < 0.9 * LIMITS.ceiling_bps


def test_an_estimate_far_below_is_a_bound_even_while_it_rises(way: Way) -> None:
    """It lags behind, but not that far."""
    way.rate.take_estimate(150_000)
    way.rate.take_estimate(160_000)

    assert way.rate.target_bps < 160_000


@pytest.mark.parametrize("absurd", [0, 1, LEAST_BPS - 1])
def test_an_absurdly_low_estimate_is_none(way: Way, absurd: int) -> None:
    """Nothing can be sent in so few bits."""
    way.rate.take_estimate(absurd)
    assert way.rate.target_bps == LIMITS.start_bps


def test_an_absurdly_high_estimate_lifts_nothing(way: Way) -> None:
    """Neither at once nor beyond what the way has proven to take."""
    way.rate.take_estimate(1 << 60)
    assert way.rate.target_bps == LIMITS.start_bps
    assert way.reports(seconds=20) == LIMITS.ceiling_bps


def test_little_loss_without_a_queue_is_not_the_rate(way: Way) -> None:
    """A way that loses packets at random does so at any rate."""
    assert way.reports(seconds=20, loss=0.05) == LIMITS.ceiling_bps


def test_much_loss_is(way: Way) -> None:
    """What arrives of it is about what the way takes."""
    before_bps = way.reports()
    assert 0.3 * before_bps <= way.reports(seconds=2, loss=0.4) <= 0.8 * before_bps
    assert way.rate.why.endswith("loss")


def test_some_loss_with_a_queue_is_too(way: Way) -> None:
    """A queue that overflows."""
    before_bps = way.reports()
    assert way.reports(loss=0.1, queue_s=0.04) < before_bps
    assert way.rate.why == "10% loss"


def test_a_long_queue_is_cut_before_it_overflows(way: Way) -> None:
    """A round trip that stays longer by more than 60 ms."""
    before_bps = way.reports()
    assert way.reports(queue_s=0.2) < before_bps
    assert way.rate.why == "200 ms of queue"


def test_while_packets_queue_nothing_grows(way: Way) -> None:
    """Not even where that is too little for a cut."""
    before_bps = way.reports()
    assert way.reports(seconds=5, queue_s=0.04) == before_bps


def test_a_short_queue_is_a_keyframe_s(way: Way) -> None:
    """It drains by itself."""
    before_bps = way.reports()
    way.reports(seconds=0.25, queue_s=0.2)
    assert way.reports() >= before_bps


def test_a_report_on_few_packets_says_little(way: Way) -> None:
    """Chromium reports with each NACK: one lost of the two since the last report is not half of all."""
    before_bps = way.reports()
    report = replace(
        way.report,
        fraction_lost=0.5,
        packets_lost=1,
        highest_sequence=way.report.highest_sequence + 2,
        at_s=way.clock.now_s + 0.02,
    )
    way.rate.take_report(report)

    assert way.rate.target_bps == before_bps


def test_one_trouble_is_cut_once(way: Way) -> None:
    """Reports that come close on each other tell of the same overflow."""
    way.reports()
    cut_bps = way.reports(loss=0.4)
    lost = replace(
        way.report,
        packets_lost=way.report.packets_lost + 200,
        highest_sequence=way.report.highest_sequence + 300,
        at_s=way.clock.now_s + 0.3,
    )
    way.clock.now_s += 0.3
    way.rate.take_report(lost)

    assert way.rate.target_bps == cut_bps


def test_who_is_sent_little_proves_little(way: Way) -> None:
    """Reports that are fine say nothing about rates far above what was sent."""
    way.rate.take_estimate(800_000)
    way.rate.take_estimate(200_000)
    assert way.reports(seconds=60, sent_bps=100_000) < 300_000


def test_near_the_last_trouble_growth_is_careful(way: Way) -> None:
    """About there steps are small; once it is passed, they are large again."""
    way.reports(seconds=0.5)
    trouble_bps = way.reports(queue_s=0.2) / 0.85
    steps = {}
    while way.rate.target_bps < 0.95 * LIMITS.ceiling_bps:
        before_bps = way.rate.target_bps
        steps[before_bps / trouble_bps] = way.reports(seconds=0.25) / before_bps

    assert all(step < 1.1 for share, step in steps.items() if share < 1.1)
    assert max(steps.values()) > 1.3


feedback = st.one_of(
    st.integers(min_value=0, max_value=1 << 81).map(lambda bps: ("estimate", bps)),
    st.builds(
        Report,
        fraction_lost=st.floats(0, 1),
        packets_lost=st.integers(-(1 << 23), 1 << 23),
        highest_sequence=st.integers(0, (1 << 32) - 1),
        jitter_s=st.floats(0, 50_000),
        round_trip_s=st.none() | st.floats(0, 100_000),
        latest_round_trip_s=st.none() | st.floats(0, 100_000),
        at_s=st.floats(0, 10_000),
    ).map(lambda report: ("report", report)),
    st.integers(0, 1 << 40).map(lambda bps: ("sending", bps)),
    st.floats(0, 100).map(lambda seconds: ("passes", seconds)),
)


@given(st.lists(feedback, max_size=60))
def test_bounds_hold_whatever_a_viewer_says(news: list[tuple[str, object]]) -> None:
    """The ceiling is never exceeded, a least rate is left, and nothing breaks."""
    clock = Clock()
    rate = ViewerRate(LIMITS, start_bps=LIMITS.start_bps, now_s=clock)
    for kind, value in news:
        match kind, value:
            case "estimate", int():
                rate.take_estimate(value)
            case "report", Report():
                rate.take_report(value)
            case "sending", int():
                rate.sending_bps = value
            case "passes", float():
                clock.now_s += value
        assert LEAST_BPS <= rate.target_bps <= LIMITS.ceiling_bps
        assert math.isfinite(rate.target_bps)


def test_a_flood_is_cut_to_what_arrives(way: Way) -> None:
    """With a little less, so that the queue empties; once, though reports tell of it later as well."""
    way.reports(seconds=8)
    way.rate.take_flood(0.8)
    assert way.rate.is_flooded
    assert way.rate.target_bps == pytest.approx(0.85 * 0.2 * LIMITS.ceiling_bps)
    assert way.rate.why == "80% missed"
    after_flood_bps = way.rate.target_bps
    way.rate.take_flood(0.9)
    way.clock.now_s += 0.8
    way.report = replace(way.report, packets_lost=way.report.packets_lost + 80)
    assert way.reports(seconds=0.25) >= after_flood_bps
    way.reports(seconds=2)
    assert not way.rate.is_flooded
    assert way.rate.target_bps > after_flood_bps


def test_a_flood_leaves_something(way: Way) -> None:
    """What was sent last may all be lost where less would not be."""
    way.reports(seconds=8)
    way.rate.take_flood(1)
    assert way.rate.target_bps == pytest.approx(0.15 * LIMITS.ceiling_bps)


def test_a_queue_that_outlasts_a_cut_is_cut_again(way: Way) -> None:
    """Though the encoder makes more than it is asked for: else the queue would stay."""
    way.reports(seconds=8)
    way.reports(seconds=1.5, queue_s=0.2)
    before_bps = way.rate.target_bps
    assert way.reports(seconds=1, queue_s=0.2, sent_bps=2 * before_bps) < 0.9 * before_bps

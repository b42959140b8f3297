"""How what viewers report becomes rates, and places on the rungs."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from camagent.media.frame import EncodedFrame, RungRate
from camagent.media.hub import VideoHub
from camagent.webrtc.bitrate import RateLimits
from camagent.webrtc.conductor import Conductor
from camagent.webrtc.reception import Report
from camagent.webrtc.rungs import RungSize
from camagent.webrtc.sending import Followers
from camagent.webrtc.stock import StockSender
from tests.support import until
from tests.webrtc.test_bitrate import FINE
from tests.webrtc.test_retransmission import Clock

MAIN = RungSize(width_px=1280, height_px=720, frames_per_second=30, ceiling_bps=2_500_000)
LOW = RungSize(width_px=640, height_px=360, frames_per_second=30, ceiling_bps=500_000)
LIMITS = RateLimits(floor_bps=100_000, start_bps=800_000, ceiling_bps=2_500_000)
REPORT_S = 0.25


class PlayedRung:
    """Notes the rates it is to have."""

    def __init__(self) -> None:
        self.rates: list[RungRate] = []
        self.keyframes_forced = 0
        self.hub = VideoHub(self._force_keyframe)
        self.problem: str | None = None

    def set_rate(self, rate: RungRate) -> None:
        self.rates.append(rate)

    @property
    def bitrate_bps(self) -> int:
        return self.rates[-1].bitrate_bps

    def _force_keyframe(self) -> None:
        self.keyframes_forced += 1


class PlayedSender(StockSender):
    """A sender whose viewer says what the test wants, and that sends what it takes."""

    followers = Followers()

    def follow(self, followers: Followers) -> None:
        self.followers = followers

    def take(self, frame: EncodedFrame) -> None:
        self.tally.frames += 1
        self.tally.payload_bytes += len(frame.data)


@dataclass(eq=False)
class PlayedViewer:
    """A viewer on a way that takes `takes_bps`, and reports accordingly."""

    takes_bps: int
    sender: PlayedSender
    estimate_bps: float = 0
    packets: int = 0
    packets_lost: int = 0

    def report(self, clock: Clock, sent_bps: int) -> None:
        sent_bps = min(sent_bps, LIMITS.ceiling_bps)
        padding_bps = self.sender.padding_per_frame_bytes * 8 * 30
        self.sender.tally.payload_bytes += round(sent_bps * REPORT_S / 8)
        self.sender.tally.padding_bytes += round(padding_bps * REPORT_S / 8)
        arriving_bps = sent_bps + padding_bps
        if arriving_bps > self.takes_bps:
            self.estimate_bps = 0.85 * self.takes_bps
        else:
            self.estimate_bps = max(self.estimate_bps, min(1.5 * arriving_bps, 2 * self.takes_bps))
        self.sender.followers.take_estimate(round(self.estimate_bps))
        # What a short queue does not hold is lost.
        queue_s = 0.15 if arriving_bps > self.takes_bps else 0.0
        packets = max(1, round(arriving_bps * REPORT_S / 8_000))
        self.packets += packets
        self.packets_lost += round(packets * max(0, 1 - 1.05 * self.takes_bps / arriving_bps))
        self.sender.followers.take_report(
            Report(
                fraction_lost=0,
                packets_lost=self.packets_lost,
                highest_sequence=self.packets,
                jitter_s=0,
                round_trip_s=0.02,
                latest_round_trip_s=FINE.round_trip_s + queue_s if FINE.round_trip_s else None,
                at_s=clock.now_s,
            )
        )


class House:
    """A conductor with viewers on ways of all kinds, and a clock that is wound."""

    def __init__(self, *, low_size: RungSize | None = LOW) -> None:
        self.clock = Clock()
        self.main, self.low = PlayedRung(), PlayedRung()
        self.conductor = Conductor(
            self.main,
            self.low,
            limits=LIMITS,
            main_size=MAIN,
            low_size=low_size,
            now_s=self.clock,
        )
        self.viewers: list[PlayedViewer] = []

    @contextlib.contextmanager
    def viewer(self, takes_bps: int, *, wants_bps: int | None = None) -> Iterator[PlayedViewer]:
        one = PlayedViewer(takes_bps, PlayedSender())
        one.sender.ceiling_bps = wants_bps
        with self.conductor.served(one.sender):
            self.viewers.append(one)
            try:
                yield one
            finally:
                self.viewers.remove(one)

    def goes_on(self, seconds: float) -> None:
        """Let time pass in which everybody reports; each move is done by a keyframe at once."""
        for _ in range(round(seconds / REPORT_S)):
            self.clock.now_s += REPORT_S
            for one in self.viewers:
                one.report(self.clock, self._sent_bps(one))
            self.conductor.adapt()
            for hub in (self.main.hub, self.low.hub):
                hub.publish(EncodedFrame(b"", 0, is_keyframe=True))

    def _sent_bps(self, one: PlayedViewer) -> int:
        match one.sender.tally.rung:
            case "main":
                return self.main.bitrate_bps
            case "low":
                return self.low.bitrate_bps
        return 10_000


@pytest.fixture
async def house() -> House:
    return House()


async def test_the_rate_reaches_the_encoder(house: House) -> None:
    """From the start rate to what the way takes; below that a viewer waits for nothing."""
    with house.viewer(takes_bps=1_200_000) as one:
        assert house.main.rates == [RungRate(800_000, 30)]
        house.goes_on(30)
        assert 0.7 * 1_200_000 < house.main.bitrate_bps < 1.25 * 1_200_000
        assert one.sender.tally.rung == "main"
        assert one.sender.tally.rate_bps == pytest.approx(house.main.bitrate_bps, rel=0.05)


async def test_with_fewer_bits_come_fewer_frames() -> None:
    """Where there is only the main rung."""
    house = House(low_size=None)
    with house.viewer(takes_bps=300_000):
        house.goes_on(30)
    assert house.main.rates[-1].frames_per_second < 20


@pytest.mark.parametrize("low_size", [LOW, None])
async def test_a_join_does_not_drag_others_down(low_size: RungSize | None) -> None:
    """Who joins begins with what the others have, as far as the main rung goes."""
    house = House(low_size=low_size)
    with house.viewer(takes_bps=10_000_000):
        house.goes_on(10)
        assert house.main.bitrate_bps == LIMITS.ceiling_bps
        rates_before = len(house.main.rates)
        with house.viewer(takes_bps=10_000_000):
            house.goes_on(10)
        assert len(house.main.rates) == rates_before


async def test_one_bad_viewer_costs_the_others_nothing(house: House) -> None:
    """It is on the low rung within seconds, and comes back to the main one only for good reasons."""
    with house.viewer(takes_bps=10_000_000) as good, house.viewer(takes_bps=10_000_000):
        house.goes_on(10)
        rates_before = len(house.main.rates)
        with house.viewer(takes_bps=400_000) as bad:
            house.goes_on(4)
            assert bad.sender.tally.rung == "low"
            house.goes_on(120)
            assert bad.sender.tally.rung == "low"
        rates = house.main.rates[rates_before:]

    assert good.sender.tally.rung == "main"
    assert all(rate.bitrate_bps > 0.9 * LIMITS.ceiling_bps for rate in rates)


async def test_a_way_that_has_become_good_is_found_out(house: House) -> None:
    """Though on the low rung it was sent next to nothing: it is tried with more."""
    with (
        house.viewer(takes_bps=10_000_000),
        house.viewer(takes_bps=10_000_000),
        house.viewer(takes_bps=400_000) as one,
    ):
        house.goes_on(20)
        assert one.sender.tally.rung == "low"
        one.takes_bps = 10_000_000
        house.goes_on(180)
        assert one.sender.tally.rung == "main"
        assert one.sender.padding_per_frame_bytes == 0
        assert one.sender.tally.padding_bytes > 0


async def test_tries_are_a_small_part_of_what_is_sent(house: House) -> None:
    """A way that stays narrow is not burdened."""
    with (
        house.viewer(takes_bps=10_000_000),
        house.viewer(takes_bps=10_000_000),
        house.viewer(takes_bps=400_000) as one,
    ):
        house.goes_on(600)
        tally = one.sender.tally
        assert tally.padding_bytes < 0.1 * tally.payload_bytes


async def test_the_low_rung_is_made_only_while_somebody_needs_it(house: House) -> None:
    """Its encoder runs while its hub has subscribers."""
    with house.viewer(takes_bps=10_000_000):
        house.goes_on(5)
        assert house.low.hub.subscriber_count == 0
        with house.viewer(takes_bps=300_000):
            house.goes_on(10)
            assert house.low.hub.subscriber_count == 1
        assert house.low.hub.subscriber_count == 0
    assert house.main.hub.subscriber_count == 0


async def test_who_wants_little_gets_the_low_rung_alone(house: House) -> None:
    """The others keep theirs, it is never tried with more, and the log can say why."""
    with (
        house.viewer(takes_bps=10_000_000) as large,
        house.viewer(takes_bps=10_000_000, wants_bps=300_000) as small,
    ):
        house.goes_on(120)
        assert (large.sender.tally.rung, small.sender.tally.rung) == ("main", "low")
        assert small.sender.tally.rate_why == "the viewer's wish"
        assert small.sender.tally.padding_bytes == 0
        assert (house.main.bitrate_bps, house.low.bitrate_bps) == (LIMITS.ceiling_bps, 300_000)


async def test_a_low_rung_that_fails_is_done_without_by_who_wants_little(house: House) -> None:
    """It sees the main rung, at the rate that the others have."""
    house.low.problem = "it cannot be had"
    with (
        house.viewer(takes_bps=10_000_000),
        house.viewer(takes_bps=10_000_000, wants_bps=300_000) as small,
    ):
        house.goes_on(30)
        assert small.sender.tally.rung == "main"
        assert house.main.bitrate_bps == LIMITS.ceiling_bps


async def test_below_the_low_rung_there_are_stills(house: House) -> None:
    """A keyframe every two seconds or so, and now and then a try whether it takes more."""
    with house.viewer(takes_bps=40_000) as one:
        house.goes_on(20)
        assert one.sender.tally.rung == "stills"
        one.takes_bps = 1_000_000
        house.goes_on(120)
        assert one.sender.tally.rung != "stills"


async def test_a_low_rung_that_cannot_be_had_is_done_without(house: House) -> None:
    """Everybody is on the main one then."""
    house.low.problem = "no second encoder"
    with house.viewer(takes_bps=200_000) as one:
        house.goes_on(20)
        assert one.sender.tally.rung == "main"
        assert house.low.hub.subscriber_count == 0


async def test_with_a_single_rung_nobody_moves() -> None:
    """The rate of the least of them is everybody's, and the floor holds."""
    house = House(low_size=None)
    with house.viewer(takes_bps=10_000_000) as good, house.viewer(takes_bps=30_000) as bad:
        house.goes_on(60)
        assert (good.sender.tally.rung, bad.sender.tally.rung) == ("main", "main")
        assert house.main.bitrate_bps >= LIMITS.floor_bps
    assert all(rate.bitrate_bps >= LIMITS.floor_bps for rate in house.main.rates)


@pytest.mark.parametrize("absurd_bps", [0, 1, 1 << 60, 1 << 81])
async def test_absurd_estimates_move_nobody_else(house: House, absurd_bps: int) -> None:
    """They cost nothing, and the others keep their rate."""
    with house.viewer(takes_bps=10_000_000), house.viewer(takes_bps=10_000_000) as liar:
        house.goes_on(10)
        before = len(house.main.rates)
        for _ in range(1_000):
            liar.sender.followers.take_estimate(absurd_bps)
        house.goes_on(5)
        assert house.main.bitrate_bps == LIMITS.ceiling_bps
        assert len(house.main.rates) == before


async def test_what_is_said_costs_little(house: House) -> None:
    """Only bad news is followed at once; all else waits for the next look."""
    looks = 0
    adapt = house.conductor.adapt

    def counted() -> None:
        nonlocal looks
        looks += 1
        adapt()

    with house.viewer(takes_bps=10_000_000) as talkative:
        house.goes_on(10)
        house.conductor.adapt = counted
        for number in range(1_000):
            talkative.sender.followers.take_estimate(4_000_000 - number)
            talkative.sender.followers.take_report(FINE)
    assert looks == 1, "that of its leaving"


async def test_a_liar_that_claims_little_moves_down_alone(house: House) -> None:
    """An estimate may be as low as it likes: it is a way of its own."""
    with house.viewer(takes_bps=10_000_000), house.viewer(takes_bps=10_000_000) as liar:
        house.goes_on(10)
        before = len(house.main.rates)
        for bps in range(30_000, 10_000, -100):
            liar.sender.followers.take_estimate(bps)
        liar.takes_bps = 11_000
        house.goes_on(5)
        assert liar.sender.tally.rung in {"low", "stills"}
        assert all(
            rate.bitrate_bps > 0.9 * LIMITS.ceiling_bps for rate in house.main.rates[before:]
        )


async def test_a_joiner_that_is_flooded_moves_down_at_once(house: House) -> None:
    """It starts at the others' rate, and what it misses tells before any report does."""
    with house.viewer(takes_bps=10_000_000), house.viewer(takes_bps=10_000_000):
        house.goes_on(10)
        before = len(house.main.rates)
        with house.viewer(takes_bps=500_000) as joiner:
            assert joiner.sender.tally.rate_bps == LIMITS.ceiling_bps
            joiner.sender.followers.take_flood(0.8)
            assert joiner.sender.tally.rung == "low"
            frames = joiner.sender.tally.frames
            house.main.hub.publish(EncodedFrame(b"", 0, is_keyframe=True))
            assert joiner.sender.tally.frames == frames, "nothing more of what flooded it"
            await until(lambda: house.low.hub.subscriber_count == 1)
            house.low.hub.publish(EncodedFrame(b"", 0, is_keyframe=True))
            assert joiner.sender.tally.frames == frames + 1
        assert len(house.main.rates) == before


async def test_a_flood_of_keyframe_requests_costs_little(house: House) -> None:
    """A hundred at once are one keyframe, of the rung that the viewer sees."""
    with house.viewer(takes_bps=10_000_000), house.viewer(takes_bps=10_000_000) as flooding:
        house.goes_on(5)
        before = house.main.keyframes_forced
        for _ in range(100):
            flooding.sender.followers.request_keyframe()
        assert house.main.keyframes_forced - before <= 1
        assert house.low.keyframes_forced == 0


async def test_who_asks_for_keyframes_all_the_time_gets_few(house: House) -> None:
    """A hundred requests a second, for a minute: one keyframe in two seconds, and a few to begin with."""
    with house.viewer(takes_bps=10_000_000), house.viewer(takes_bps=10_000_000) as flooding:
        house.goes_on(5)
        asked = requests_that_pass(house)
        for _ in range(6_000):
            house.clock.now_s += 0.01
            flooding.sender.followers.request_keyframe()
        assert 30 <= len(asked) <= 37


async def test_who_watches_alone_may_ask_as_often_as_it_likes(house: House) -> None:
    """It costs nobody anything, and the hub spaces them."""
    with house.viewer(takes_bps=10_000_000) as alone, house.viewer(takes_bps=100_000):
        house.goes_on(10)
        asked = requests_that_pass(house)
        for _ in range(100):
            alone.sender.followers.request_keyframe()
        assert len(asked) == 100


async def test_a_keyframe_that_has_to_wait_is_not_forgotten(house: House) -> None:
    """Unless one came meanwhile; nobody has to ask twice."""
    with house.viewer(takes_bps=10_000_000), house.viewer(takes_bps=10_000_000) as asking:
        house.goes_on(5)
        asked = requests_that_pass(house)
        asking.sender.followers.request_keyframe()
        asking.sender.followers.request_keyframe()
        assert len(asked) == 1
        house.clock.now_s += 0.6
        house.conductor.adapt()
        assert len(asked) == 2
        asking.sender.followers.request_keyframe()
        asking.sender.tally.keyframes += 1
        house.clock.now_s += 0.6
        house.conductor.adapt()
        assert len(asked) == 2


def requests_that_pass(house: House) -> list[None]:
    """Count what the main rung's hub is asked from now on."""
    asked: list[None] = []
    house.main.hub.request_keyframe = lambda: asked.append(None)
    return asked


async def test_an_empty_house_begins_anew(house: House) -> None:
    """After everybody left, the next one starts at the start rate, not where the last one was."""
    with house.viewer(takes_bps=10_000_000):
        house.goes_on(10)
    with house.viewer(takes_bps=10_000_000):
        assert house.main.rates[-1] == RungRate(800_000, 30)


async def test_who_is_expected_finds_a_keyframe_at_the_start_rate(house: House) -> None:
    """It is asked for before the viewer is there, after the rate it begins with; once in all."""
    with house.viewer(takes_bps=10_000_000):
        house.goes_on(10)
    before = house.main.keyframes_forced

    house.conductor.expect()

    assert house.main.rates[-1] == RungRate(800_000, 30)
    await until(lambda: house.main.keyframes_forced == before + 1)
    house.main.hub.publish(EncodedFrame(b"", 0, is_keyframe=True))
    with house.viewer(takes_bps=10_000_000) as one:
        assert one.sender.tally.frames == 1


async def test_who_is_expected_changes_nothing_for_others(house: House) -> None:
    """Their rate stays."""
    with house.viewer(takes_bps=10_000_000):
        house.goes_on(10)
        rates = list(house.main.rates)
        house.conductor.expect()
        assert house.main.rates == rates

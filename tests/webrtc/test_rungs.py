"""Who watches which rung, and at what rate each is encoded."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.webrtc.rungs import Place, Plan, RungSize, Watcher

MAIN = RungSize(width_px=1280, height_px=720, frames_per_second=30, ceiling_bps=2_500_000)
LOW = RungSize(width_px=640, height_px=360, frames_per_second=30, ceiling_bps=500_000)
FLOOR_BPS = 100_000
LOOK_S = 0.25


class Room:
    """Viewers whose ways take as much as they are told to, looked at four times a second."""

    def __init__(self, *targets_bps: int, low: RungSize | None = LOW) -> None:
        self.plan = Plan(MAIN, low, floor_bps=FLOOR_BPS)
        self.watchers = [Watcher(bps) for bps in targets_bps]
        self.now_s = 100.0

    def after_s(self, seconds: float) -> Sequence[Place]:
        """Let so much time pass; give who is where then."""
        for _ in range(round(seconds / LOOK_S)):
            self.now_s += LOOK_S
            self.plan.place(self.watchers, now_s=self.now_s)
        return [one.place for one in self.watchers]

    @property
    def main_bps(self) -> int | None:
        return self.plan.rates(self.watchers).main_bps

    @property
    def low_bps(self) -> int | None:
        return self.plan.rates(self.watchers).low_bps


def test_those_who_are_close_share_the_main_rung() -> None:
    """At the rate of the least of them; nobody is on the low one, and it has no rate."""
    room = Room(2_000_000, 1_500_000, 2_400_000)
    assert room.after_s(10) == [Place.MAIN] * 3
    assert (room.main_bps, room.low_bps) == (1_500_000, None)


def test_an_outlier_moves_down_soon() -> None:
    """Within 2 s; and from the first moment it holds the others back no longer."""
    room = Room(2_000_000, 2_000_000, 400_000)
    room.after_s(LOOK_S)
    assert room.main_bps == 2_000_000
    assert room.after_s(2) == [Place.MAIN, Place.MAIN, Place.LOW]
    assert room.low_bps == 400_000


def test_a_dip_is_no_reason_to_move() -> None:
    """A second of less is waited out, for a change costs a keyframe."""
    room = Room(2_000_000, 2_000_000)
    room.after_s(1)
    room.watchers[0].target_bps = 900_000
    room.after_s(1)
    room.watchers[0].target_bps = 2_000_000
    assert room.after_s(10) == [Place.MAIN, Place.MAIN]


def test_all_slow_viewers_stay_together_on_main() -> None:
    """Nobody is an outlier among those who are alike."""
    room = Room(600_000, 500_000)
    assert room.after_s(10) == [Place.MAIN, Place.MAIN]
    assert room.main_bps == 500_000


def test_whose_way_cannot_carry_the_size_moves_at_once() -> None:
    """Also alone, for the main rung's pictures would be few and poor."""
    room = Room(MAIN.least_bps - 1)
    assert room.after_s(LOOK_S) == [Place.LOW]
    assert room.main_bps is None


def test_going_up_takes_time_and_proof() -> None:
    """Half as much again as was too little has to be there for some seconds."""
    room = Room(150_000)
    room.after_s(1)
    room.watchers[0].target_bps = round(1.2 * MAIN.least_bps)
    assert room.after_s(20) == [Place.LOW]
    room.watchers[0].target_bps = round(1.4 * MAIN.least_bps)
    assert room.after_s(1) == [Place.LOW]
    assert room.after_s(6) == [Place.MAIN]


def test_a_way_at_the_edge_does_not_swing() -> None:
    """What goes up and down by a tenth about any bound moves a viewer at most once."""
    for bound_bps in (MAIN.least_bps, 1.3 * MAIN.least_bps, FLOOR_BPS, 1.3 * FLOOR_BPS):
        room = Room(round(bound_bps))
        places = []
        for step in range(200):
            room.watchers[0].target_bps = round(bound_bps * (1.09 if step % 2 else 0.91))
            places += room.after_s(0.5)
        assert sum(one is not other for one, other in pairwise(places)) <= 1, bound_bps


def test_below_the_low_rung_there_are_stills() -> None:
    """Not at the first bad moment; the rung itself is encoded no worse for it."""
    room = Room(60_000)
    assert room.after_s(0.5) == [Place.LOW]
    assert room.after_s(2) == [Place.STILLS]
    assert room.low_bps == FLOOR_BPS


def test_from_stills_it_goes_back_to_the_low_rung() -> None:
    """When the way has proven to take it."""
    room = Room(60_000)
    room.after_s(3)
    room.watchers[0].target_bps = round(1.4 * FLOOR_BPS)
    assert room.after_s(10) == [Place.LOW]


def test_who_wants_little_is_on_the_low_rung() -> None:
    """At once and for good, however good its way is; those on the main rung do not notice."""
    room = Room(2_000_000, 2_000_000)
    room.watchers[0].ceiling_bps = 400_000
    assert room.after_s(LOOK_S) == [Place.LOW, Place.MAIN]
    assert (room.main_bps, room.low_bps) == (2_000_000, 400_000)
    assert room.after_s(60) == [Place.LOW, Place.MAIN]


def test_who_wants_less_than_all_stays_on_main() -> None:
    """And gets no more than it wants, while nobody wants more."""
    room = Room(2_400_000, 2_400_000)
    room.watchers[0].ceiling_bps = 1_800_000
    assert room.after_s(10) == [Place.MAIN, Place.MAIN]
    assert room.main_bps == 2_400_000
    room.watchers[1].ceiling_bps = 1_900_000
    assert room.main_bps == 1_900_000


def test_without_a_low_rung_who_wants_little_holds_nobody_back() -> None:
    """Among others it gets what they get; alone it gets what it wants."""
    room = Room(2_000_000, 2_000_000, low=None)
    room.watchers[0].ceiling_bps = 400_000
    assert room.after_s(10) == [Place.MAIN, Place.MAIN]
    assert room.main_bps == 2_000_000
    room.watchers.pop()
    assert room.main_bps == 400_000


def test_without_a_low_rung_nobody_moves() -> None:
    """The main one goes as low as is allowed."""
    room = Room(2_000_000, 20_000, low=None)
    assert room.after_s(20) == [Place.MAIN, Place.MAIN]
    assert (room.main_bps, room.low_bps) == (FLOOR_BPS, None)


@pytest.mark.parametrize("bitrate_bps", [1, 100_000, 300_000, 600_000, 2_500_000, 1 << 60])
def test_fewer_bits_make_fewer_frames(bitrate_bps: int) -> None:
    """From all of them down to two fifths."""
    assert 12 <= MAIN.frame_rate(bitrate_bps) <= 30
    assert MAIN.frame_rate(bitrate_bps) <= MAIN.frame_rate(2 * bitrate_bps)


def test_nobody_there_needs_no_rates() -> None:
    """Nor any place."""
    room = Room()
    assert room.after_s(1) == []
    assert (room.main_bps, room.low_bps) == (None, None)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, 1 << 40), min_size=3, max_size=3), st.floats(0.25, 20)),
        max_size=12,
    )
)
def test_bounds_hold_whatever_ways_take(story: list[tuple[list[int], float]]) -> None:
    """No rung is encoded above its ceiling or below the floor, and one without viewers not at all."""
    room = Room(800_000, 800_000, 800_000)
    for targets_bps, seconds in story:
        for watcher, target_bps in zip(room.watchers, targets_bps, strict=True):
            watcher.target_bps = target_bps
        places = room.after_s(seconds)
        main_bps, low_bps = room.main_bps, room.low_bps
        assert (main_bps is None) == (Place.MAIN not in places)
        assert (low_bps is None) == (set(places) <= {Place.MAIN})
        assert main_bps is None or FLOOR_BPS <= main_bps <= MAIN.ceiling_bps
        assert low_bps is None or FLOOR_BPS <= low_bps <= LOW.ceiling_bps

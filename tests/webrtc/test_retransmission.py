"""Which lost packets are sent again."""

from camagent.webrtc.packing import MOST_FRAMES_KEPT
from camagent.webrtc.retransmission import Retransmissions, SentFrame


class Clock:
    """A monotonic clock that tests wind."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def after_frames(count: int, *, first: int = 1_000, clock: Clock | None = None) -> Retransmissions:
    """Give the state after `count` frames of ten packets and 10 kB."""
    retransmissions = Retransmissions(now_s=clock or Clock())
    for number in range(count):
        sent = SentFrame(first + 10 * number, 10, number, timestamp=3_000 * number)
        retransmissions.note_sent(sent, size_bytes=10_000)
    return retransmissions


def chosen(retransmissions: Retransmissions, *lost: int) -> list[tuple[int, tuple[int, ...]]]:
    return [(one.sent.number, one.indices) for one in retransmissions.choose(lost)]


def test_a_number_is_found_in_its_frame() -> None:
    """Packets are named by frame and place, in order, those of one frame together."""
    assert chosen(after_frames(3), 1_000, 1_019, 1_015, 1_029) == [
        (0, (0,)),
        (1, (5, 9)),
        (2, (9,)),
    ]


def test_numbers_wrap() -> None:
    """After 65,535 comes 0."""
    wrapped = after_frames(3, first=65_530)
    assert chosen(wrapped, 65_535, 0, 4) == [(0, (5, 6)), (1, (0,))]


def test_what_was_never_sent_is_left_out() -> None:
    """Neither numbers to come nor those from before the first, nor any before anything was sent."""
    assert chosen(after_frames(3), 999, 1_030, 40_000, 65_535) == []
    assert chosen(after_frames(0), 0, 1) == []


def test_what_is_too_old_is_left_out() -> None:
    """The history has a bound."""
    retransmissions = after_frames(MOST_FRAMES_KEPT + 5)
    assert chosen(retransmissions, 1_049, 1_050) == [(5, (0,))]


def test_a_number_goes_out_again_after_60_ms_only() -> None:
    """A retransmission takes a round trip; asking again meanwhile changes nothing."""
    clock = Clock()
    retransmissions = after_frames(1, clock=clock)
    assert chosen(retransmissions, 1_003)
    clock.now_s += 0.05
    assert chosen(retransmissions, 1_003, 1_004) == [(0, (4,))]
    clock.now_s += 0.02
    assert chosen(retransmissions, 1_003) == [(0, (3,))]


def test_a_flood_is_not_looked_at() -> None:
    """Of thousands of numbers at once only the first few hundred are; a moment later again."""
    clock = Clock()
    retransmissions = after_frames(60, clock=clock)
    flood = range(1_000, 1_600)
    assert sum(len(one.indices) for one in retransmissions.choose(flood)) == 512
    assert retransmissions.choose(range(1_590, 1_600)) == []
    clock.now_s += 0.1
    assert retransmissions.choose(range(1_590, 1_600))


def test_a_quarter_may_be_sent_again() -> None:
    """What is saved up has a bound, what is sent again is taken from it, what is sent adds to it."""
    retransmissions = after_frames(1_000)
    retransmissions.note_resent(63_999)
    assert not retransmissions.is_spent
    retransmissions.note_resent(10_001)
    assert retransmissions.is_spent
    for number in range(4):
        assert retransmissions.is_spent
        sent = SentFrame(20_000 + 10 * number, 10, 2_000 + number, timestamp=0)
        retransmissions.note_sent(sent, size_bytes=10_001)
    assert not retransmissions.is_spent


def test_what_is_saved_is_of_about_a_second() -> None:
    """On a slow link there is less of it: a burst of repairs would queue there for long."""
    retransmissions = after_frames(1)
    for number in range(300):
        sent = SentFrame(2_000 + number, 1, number, timestamp=3_000 * number)
        retransmissions.note_sent(sent, size_bytes=1_000)
    retransmissions.note_resent(7_500)
    assert not retransmissions.is_spent
    retransmissions.note_resent(1_000)
    assert retransmissions.is_spent


def test_nothing_goes_out_again_within_a_round_trip() -> None:
    """Who asks again that soon asked before the repair could arrive."""
    clock = Clock()
    retransmissions = after_frames(1, clock=clock)
    retransmissions.round_trip_s = 0.3
    assert chosen(retransmissions, 1_003)
    clock.now_s += 0.2
    assert chosen(retransmissions, 1_003) == []
    clock.now_s += 0.1
    assert chosen(retransmissions, 1_003)


def test_an_absurd_round_trip_does_not_end_repairs() -> None:
    """A viewer may claim any delay of its own."""
    clock = Clock()
    retransmissions = after_frames(1, clock=clock)
    retransmissions.round_trip_s = 3_600
    assert chosen(retransmissions, 1_003)
    clock.now_s += 0.6
    assert chosen(retransmissions, 1_003)


def test_a_way_that_is_far_too_narrow_shows_at_once() -> None:
    """It lets a few packets of each frame through."""
    retransmissions = after_frames(20)
    retransmissions.choose([1_010 + 10 * frame + place for frame in range(8) for place in range(8)])
    # From the first packet missed to the last, for what came later may be on its way.
    assert retransmissions.hopeless_share == 64 / 80
    retransmissions.give_up()
    assert retransmissions.hopeless_share == 0
    assert retransmissions.choose([1_000]) == []


def test_a_keyframe_does_not_hide_what_was_missed_before_it() -> None:
    """Even if nothing is saved to send that again."""
    retransmissions = after_frames(10)
    retransmissions.note_resent(64_000)
    keyframe = SentFrame(1_100, 10, 10, timestamp=30_000, is_keyframe=True)
    retransmissions.note_sent(keyframe, size_bytes=10_000)
    retransmissions.choose([1_000 + 10 * frame + place for frame in range(8) for place in range(8)])
    assert retransmissions.hopeless_share == 64 / 80


def test_an_outage_is_not_taken_for_a_narrow_way() -> None:
    """It takes all packets in a row; before and behind it the network is as good as ever."""
    retransmissions = after_frames(20)
    retransmissions.choose(range(1_025, 1_185))
    assert retransmissions.hopeless_share == 0


def test_some_loss_is_not_taken_for_a_narrow_way() -> None:
    """Even of three packets in ten, everywhere."""
    retransmissions = after_frames(20)
    retransmissions.choose([number for number in range(1_000, 1_200) if number % 10 < 3])
    assert retransmissions.hopeless_share == 0


def test_a_few_packets_tell_nothing_of_the_way() -> None:
    """However many of them are missed."""
    retransmissions = after_frames(2)
    retransmissions.choose([number for number in range(1_000, 1_020) if number % 10])
    assert retransmissions.hopeless_share == 0


def test_only_what_was_sent_of_late_tells_of_the_way() -> None:
    """A third of a second."""
    retransmissions = after_frames(60)
    retransmissions.choose([1_590, *range(1_001, 1_200, 2), *range(1_000, 1_200, 10)])
    assert retransmissions.hopeless_share == 0


def test_the_last_of_what_is_saved_is_for_the_newest_keyframe() -> None:
    """What comes before it is not needed any more; with more saved it is still worth showing."""
    for spent_bytes, is_short in ((0, False), (60_000, True)):
        retransmissions = after_frames(10)
        retransmissions.note_resent(spent_bytes)
        keyframe = SentFrame(1_100, 10, 10, timestamp=30_000, is_keyframe=True)
        retransmissions.note_sent(keyframe, size_bytes=10_000)
        expected = [(10, (1,))] if is_short else [(9, (5,)), (10, (1,))]
        assert chosen(retransmissions, 1_095, 1_101) == expected

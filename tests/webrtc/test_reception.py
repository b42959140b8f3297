"""What receiver reports tell."""

import pytest

from camagent.webrtc.reception import END_AFTER_S, PAUSE_AFTER_S, Reception
from tests.webrtc.test_retransmission import Clock

NO_REPORT = {
    "fraction_lost": 0,
    "packets_lost": 0,
    "highest_sequence": 0,
    "jitter": 0,
    "lsr": 0,
    "dlsr": 0,
}


def test_a_report_is_read_in_units_of_people() -> None:
    """Fractions of 256, ticks of 90 kHz, and delays of 1/65,536 s."""
    clock = Clock()
    reception = Reception(now_s=clock)
    reception.note_sender_report(4_711)
    clock.now_s += 0.25
    reception.note_report(
        fraction_lost=64,
        packets_lost=12,
        highest_sequence=99,
        jitter=900,
        lsr=4_711,
        dlsr=round(0.1 * 65_536),
    )
    report = reception.newest
    assert report is not None
    assert (report.fraction_lost, report.packets_lost) == (0.25, 12)
    assert report.jitter_s == pytest.approx(0.01)
    assert report.round_trip_s == pytest.approx(0.15, abs=1e-4)
    assert report.at_s == clock.now_s


def test_the_round_trip_is_smoothed() -> None:
    """One slow report moves it by a seventh; a report on nothing of ours, or from before it, by nothing."""
    clock = Clock()
    reception = Reception(now_s=clock)
    for number, takes_s in ((1, 0.1), (2, 1.1)):
        reception.note_sender_report(number)
        clock.now_s += takes_s
        reception.note_report(**NO_REPORT | {"lsr": number})
    for strange in ({"lsr": 99}, {"lsr": 0}, {"lsr": 2, "dlsr": 10 * 65_536}):
        reception.note_report(**NO_REPORT | strange)
    assert reception.newest is not None
    assert reception.newest.round_trip_s == pytest.approx(0.25)


def test_silence_counts_while_media_goes_out() -> None:
    """A viewer that is sent nothing has nothing to report."""
    clock = Clock()
    reception = Reception(now_s=clock)
    clock.now_s += 60
    assert reception.silent_for_s == 0
    reception.note_sent()
    clock.now_s += PAUSE_AFTER_S - 0.1
    reception.note_sent()
    assert not reception.is_silent
    clock.now_s += 0.2
    assert reception.is_silent
    assert not reception.is_gone
    clock.now_s += END_AFTER_S - PAUSE_AFTER_S
    assert reception.is_gone
    reception.note_heard()
    assert not reception.is_silent


def test_a_receiver_that_reports_rarely_is_not_held_back_twice() -> None:
    """It gets twice its longest silence, and the end stays where it is."""
    clock = Clock()
    reception = Reception(now_s=clock)
    reception.note_sent()
    clock.now_s += 5.5
    assert reception.is_silent
    reception.note_heard()
    reception.note_sent()
    clock.now_s += 10.5
    assert not reception.is_silent
    clock.now_s += 1
    assert reception.is_silent

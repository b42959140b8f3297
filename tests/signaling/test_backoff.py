"""How long the delays between attempts are."""

from itertools import islice

from camagent.signaling.backoff import RetryDelays, backoff


def test_ceilings_double_up_to_the_longest() -> None:
    """The delay is drawn below 1, 2, 4 … seconds, never above the longest."""
    ceilings = list(islice(backoff(longest_s=10, jitter=lambda _low, high: high), 6))

    assert ceilings == [1, 2, 4, 8, 10, 10]


def test_jitter_is_full() -> None:
    """Delays start at zero, so that a fleet does not come back in step."""
    drawn = list(islice(backoff(longest_s=60, jitter=lambda low, _high: low), 4))

    assert drawn == [0, 0, 0, 0]


def test_delays_spread() -> None:
    """Two devices that lost the server together come back at different times."""
    one, other = list(islice(backoff(), 8)), list(islice(backoff(), 8))

    assert one != other
    assert all(0 <= delay <= 60 for delay in one)


def test_a_first_delay_above_the_longest_is_cut() -> None:
    """The longest delay bounds the first one as well."""
    assert next(backoff(first_s=9, longest_s=2, jitter=lambda _low, high: high)) == 2


def test_a_fleet_that_lost_its_server_is_spread() -> None:
    """After the server vanished, the first attempt is anywhere in half of the longest delay."""
    delays = RetryDelays(first_s=1, longest_s=60, jitter=lambda _low, high: high)

    assert [delays.next_s() for _ in range(3)] == [1, 2, 4]
    assert delays.next_after_vanishing_s() == 30
    assert [delays.next_s() for _ in range(3)] == [30, 60, 60]
    delays.start_again()
    assert delays.next_s() == 1

"""How often trouble is told, and how loud."""

from structlog.testing import capture_logs

from camagent.progress import Progress
from camagent.trouble import Trouble


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def levels(trouble: Trouble, *causes: str) -> list[str]:
    with capture_logs() as told:
        for cause in causes:
            trouble.tell("link.lost", cause)
    return [line["log_level"] for line in told]


def test_a_cause_is_a_warning_once() -> None:
    """The first time is a warning; so is another cause; every repeat is for those who look."""
    found = levels(Trouble(clock=Clock()), "refused", "refused", "timeout", "refused", "timeout")

    assert found == ["warning", "debug", "warning", "debug", "debug"]


def test_ten_minutes_of_it_are_summed_up() -> None:
    """One warning says how often and for how long, and so again ten minutes later."""
    clock = Clock()
    trouble = Trouble(clock=clock)
    told = []
    with capture_logs() as lines:
        for _ in range(130):
            trouble.tell("link.lost", "refused", retry_in_s=9)
            clock.now_s += 10
        told = [line for line in lines if line["log_level"] == "warning"]

    assert [line.get("times") for line in told] == [None, 61, 121]
    assert [line.get("for_s") for line in told] == [None, 600, 1200]
    assert {line["retry_in_s"] for line in told} == {9}


def test_trouble_that_is_over_is_news_again() -> None:
    """After a success the same cause is a warning anew, and there is no cause meanwhile."""
    trouble = Trouble(clock=Clock())
    levels(trouble, "refused")
    assert trouble.cause == "refused"
    trouble.is_over()

    assert trouble.cause is None
    assert levels(trouble, "refused") == ["warning"]


def test_ever_new_causes_do_not_fill_log_or_memory() -> None:
    """A cause with a number in it cannot be a warning for ever."""
    found = levels(Trouble(clock=Clock()), *(f"port {number}" for number in range(100)))

    assert found.count("warning") == 16


def test_a_promise_is_broken_only_when_it_is_late() -> None:
    """A part is stuck some seconds after its promise, never before, and never while it rests."""
    clock = Clock()
    progress = Progress(clock=clock)
    clock.now_s += 1e9
    assert not progress.is_stuck
    progress.expect_within(10)
    clock.now_s += 14.9
    assert not progress.is_stuck
    clock.now_s += 0.2
    assert progress.is_stuck
    progress.expect_within(10)
    assert not progress.is_stuck
    progress.expect_nothing()
    clock.now_s += 1e9
    assert not progress.is_stuck

"""What the log tells of the machine's health, and how often."""

from typing import Any

from structlog.testing import capture_logs

from camagent.health_log import Changes
from camagent.signaling.messages import DevicePresence

DETECTED = {"event": "under_voltage.detected", "log_level": "warning"}


def told(*reports: dict[str, Any]) -> list[dict[str, Any]]:
    """Give what is logged of some reports in a row."""
    changes = Changes()
    with capture_logs() as lines:
        for report in reports:
            changes.tell(DevicePresence.Payload.model_validate(report))
    return [dict(line) for line in lines]


def events(*reports: dict[str, Any]) -> list[str]:
    return [line["event"] for line in told(*reports)]


def strained(name: str, now: bool, since_boot: bool | None = None) -> dict[str, Any]:
    known = {} if since_boot is None else {"since_boot": since_boot}
    return {name: {"now": now, **known}}


WELL = {
    **strained("under_voltage", now=False, since_boot=False),
    **strained("throttled", now=False, since_boot=False),
    "temperature": 50.0,
    "disk_free_mb": 5000,
    "clock_synced": True,
}


def test_a_healthy_start_is_silent() -> None:
    """Of good news, the first report's are none, nor are repeats."""
    assert told(WELL, WELL, WELL) == []


def test_a_machine_that_tells_nothing_is_silent() -> None:
    """What is not known is neither good nor bad."""
    assert told({}, {"camera": "live"}, {}) == []


def test_bad_news_of_the_first_report_is_told() -> None:
    """Everything that is bad at the start is a warning, with its values."""
    sick = {
        **strained("under_voltage", now=True, since_boot=True),
        **strained("throttled", now=True, since_boot=True),
        "temperature": 80.0,
        "disk_free_mb": 199,
        "clock_synced": False,
    }
    strain = {"now": True, "since_boot": True, "log_level": "warning"}

    assert told(sick, sick) == [
        {"event": "under_voltage.detected", **strain},
        {"event": "throttling.detected", **strain},
        {"event": "temperature.high", "temperature": 80.0, "log_level": "warning"},
        {"event": "disk.low", "free_mb": 199, "log_level": "warning"},
        {"event": "clock.not_synced", "log_level": "warning"},
    ]


def test_under_voltage_is_told_when_it_comes_and_when_it_goes() -> None:
    """Coming is a warning, going is information, and it may come again."""
    low = strained("under_voltage", now=True, since_boot=True)
    over = strained("under_voltage", now=False, since_boot=True)
    lines = told(WELL, low, low, over, over, low)

    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("under_voltage.detected", "warning"),
        ("under_voltage.over", "info"),
        ("under_voltage.detected", "warning"),
    ]
    assert lines[1]["now"] is False


def test_a_monitor_that_knows_the_present_only_is_enough() -> None:
    """Where nobody remembers, nothing is said of the time since the start."""
    low, over = strained("under_voltage", now=True), strained("under_voltage", now=False)

    assert told(over, low, over) == [
        {**DETECTED, "now": True},
        {"event": "under_voltage.over", "now": False, "log_level": "info"},
    ]


def test_under_voltage_before_the_agent_came_is_told_once() -> None:
    """A board that was short of power since it started says so in the first report."""
    past = strained("under_voltage", now=False, since_boot=True)

    assert told(past, past, WELL, past) == [{**DETECTED, "now": False, "since_boot": True}]


def test_a_dip_between_two_reports_is_told_once() -> None:
    """Under-voltage that no report saw is known by what is remembered of it."""
    past = strained("under_voltage", now=False, since_boot=True)

    assert told(WELL, past, past) == [{**DETECTED, "now": False, "since_boot": True}]


def test_under_voltage_after_one_that_was_remembered_is_news() -> None:
    """What is remembered does not hide what happens."""
    past = strained("under_voltage", now=False, since_boot=True)
    low = strained("under_voltage", now=True, since_boot=True)

    assert events(past, low, past) == [
        "under_voltage.detected",
        "under_voltage.detected",
        "under_voltage.over",
    ]


def test_throttling_is_told_when_it_comes_and_when_it_goes() -> None:
    """Throttling of the past is no news; that of the present is."""
    past = strained("throttled", now=False, since_boot=True)
    slow = strained("throttled", now=True, since_boot=True)

    assert events(past, slow, slow, past) == ["throttling.detected", "throttling.over"]


def test_a_temperature_at_the_limit_is_told_once() -> None:
    """Heat is over five degrees below where it began."""
    degrees = [79.9, 80.0, 79.0, 81.5, 75.0, 74.9, 79.9, 80]
    lines = told(*({"temperature": celsius} for celsius in degrees))

    assert [(line["event"], line["temperature"]) for line in lines] == [
        ("temperature.high", 80.0),
        ("temperature.normal", 74.9),
        ("temperature.high", 80),
    ]


def test_a_disk_at_the_limit_is_told_once() -> None:
    """A disk is enough again when there is clearly more than what was low."""
    free_mb = [200, 199, 200, 249, 0, 250, 200, 199]
    lines = told(*({"disk_free_mb": free} for free in free_mb))

    assert [(line["event"], line["free_mb"]) for line in lines] == [
        ("disk.low", 199),
        ("disk.enough", 250),
        ("disk.low", 199),
    ]


def test_the_clock_is_told_when_it_changes() -> None:
    """A Pi that starts without the time says so, and says when it has it."""
    wrong, right = {"clock_synced": False}, {"clock_synced": True}

    assert events(wrong, wrong, right, right, wrong) == [
        "clock.not_synced",
        "clock.synced",
        "clock.not_synced",
    ]


def test_a_sensor_that_falls_silent_changes_nothing() -> None:
    """What a report leaves out stays as it was."""
    low, hot = strained("under_voltage", now=True, since_boot=True), {"temperature": 85.0}

    assert events(low, {}, low) == ["under_voltage.detected"]
    assert events(hot, {}, {"temperature": 78.0}) == ["temperature.high"]

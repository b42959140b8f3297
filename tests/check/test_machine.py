"""What is told of this computer."""

import grp
from datetime import UTC, datetime
from pathlib import Path

import aiortc
import pytest

from camagent.check.findings import Verdict
from camagent.check.machine import (
    check_clock,
    check_groups,
    check_libraries,
    check_machine,
    check_python,
    check_space,
)

NOW_S = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


def test_everything_has_one_finding() -> None:
    """The whole machine is looked at, each thing once and in order."""
    assert [finding.name for finding in check_machine()] == [
        "python",
        "libraries",
        "groups",
        "disk /",
        "disk /run",
        "clock",
    ]


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((3, 10, 14), Verdict.FAILED), ((3, 11, 0), Verdict.OK), ((3, 13, 1), Verdict.OK)],
)
def test_an_old_python_fails(version: tuple[int, ...], verdict: Verdict) -> None:
    """3.11 is the oldest that will do."""
    assert check_python(version).verdict is verdict


def test_libraries_are_told_with_their_versions() -> None:
    """What a report of a problem needs to name is in one line."""
    assert f"aiortc {aiortc.__version__}" in check_libraries(("aiortc", "av")).text


def test_a_missing_library_fails() -> None:
    """An installation that is not complete is told by what it lacks."""
    finding = check_libraries(("aiortc", "no-such-library"))

    assert (finding.verdict, finding.text) == (Verdict.FAILED, "missing: no-such-library")


def test_root_needs_no_group() -> None:
    """Root may open what it likes."""
    assert check_groups(0, in_session=frozenset()).verdict is Verdict.OK


def test_a_user_beside_the_group_is_told_the_command() -> None:
    """Only groups that exist here are asked for."""
    group = grp.getgrall()[0].gr_name
    wanted = (group, "no-such-group")
    outside = check_groups(12345, in_session=frozenset(), wanted=wanted)
    inside = check_groups(12345, in_session=frozenset({group}), wanted=wanted)

    assert outside.verdict is Verdict.WARNING
    assert outside.fix == f"sudo usermod -aG {group} user 12345, then log out and in again"
    assert inside.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("free_mb", "verdict"),
    [(200, Verdict.OK), (199, Verdict.WARNING), (20, Verdict.WARNING), (19, Verdict.FAILED)],
)
def test_little_room_warns_and_none_fails(free_mb: int, verdict: Verdict) -> None:
    """The limits are where they are said to be."""
    finding = check_space("/", free_mb=free_mb, low_mb=200, too_low_mb=20)

    assert finding.verdict is verdict
    assert f"{free_mb} MB free" in finding.text


def test_a_clock_in_the_past_is_not_set(tmp_path: Path) -> None:
    """A Pi that has just started lives before this program was written."""
    finding = check_clock(datetime(2024, 1, 1, tzinfo=UTC).timestamp(), timesync=tmp_path)

    assert finding.verdict is Verdict.FAILED
    assert finding.text == "the clock is not set: here it is 2024-01-01 00:00 UTC"


def test_the_mark_of_timesyncd_tells_whether_the_time_came(tmp_path: Path) -> None:
    """Where it runs, its mark decides; where it does not, nothing does."""
    folder = tmp_path / "timesync"
    assert check_clock(NOW_S, timesync=folder).verdict is Verdict.SKIPPED
    folder.mkdir()
    assert check_clock(NOW_S, timesync=folder).verdict is Verdict.WARNING
    (folder / "synchronized").touch()
    assert check_clock(NOW_S, timesync=folder).verdict is Verdict.OK

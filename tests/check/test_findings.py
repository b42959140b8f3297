"""How a finding is told."""

import json

import pytest

from camagent.check.findings import Finding, Verdict, as_json, as_lines, exit_status

FINE = Finding("clock", Verdict.OK, "12:00")
LOW = Finding("disk /", Verdict.WARNING, "100 MB free", "make room")
BROKEN = Finding("camera", Verdict.FAILED, "no camera", "check the cable")
LEFT_OUT = Finding("server", Verdict.SKIPPED, "no settings")
WRONG = Finding("settings", Verdict.FAILED, "CAMAGENT_DEVICE_ID is not set", "set it")


def test_a_line_starts_with_the_verdict_and_the_fix_stands_below() -> None:
    """What works is one line; what does not has what to do beneath its text."""
    assert as_lines(FINE, is_coloured=False) == "ok       clock           12:00\n"
    assert as_lines(BROKEN, is_coloured=False) == (
        "failed   camera          no camera\n                         fix: check the cable\n"
    )


def test_only_the_verdict_is_coloured() -> None:
    """Columns stay where they are."""
    assert as_lines(LOW, is_coloured=True).startswith("\x1b[33mwarning  \x1b[0mdisk / ")


def test_what_a_server_says_cannot_steer_the_terminal() -> None:
    """Control characters and line ends in a text are spelled out."""
    evil = Finding("server hello", Verdict.FAILED, "gone\n\x1b[2Jok", "do\rthis")

    assert as_lines(evil, is_coloured=False).splitlines() == [
        "failed   server hello    gone\\n\\x1b[2Jok",
        "                         fix: do\\rthis",
    ]


def test_json_is_a_list_of_all() -> None:
    """A program gets the same as a person, a fix only where there is one."""
    assert json.loads(as_json([FINE, BROKEN])) == [
        {"name": "clock", "verdict": "ok", "text": "12:00", "fix": None},
        {"name": "camera", "verdict": "failed", "text": "no camera", "fix": "check the cable"},
    ]


@pytest.mark.parametrize(
    ("findings", "status"),
    [
        ([FINE, LOW, LEFT_OUT], 0),
        ([FINE, BROKEN], 1),
        ([WRONG, BROKEN], 78),
        ([], 0),
    ],
)
def test_the_exit_status_tells_the_worst(findings: list[Finding], status: int) -> None:
    """Warnings are no failure, and wrong settings are what a restart cannot mend."""
    assert exit_status(findings) == status


def test_a_failure_without_a_fix_is_a_bug() -> None:
    """Nobody is left alone with a failure."""
    with pytest.raises(AssertionError, match="camera"):
        Finding("camera", Verdict.FAILED, "no camera")

"""What came of one try, in words for a person and as data for a program. Pure."""

import enum
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from camagent.configuration import EX_CONFIG
from camagent.journal import escaped

SETTINGS = "settings"
"""The name of a finding that is about the settings themselves."""

_VERDICT_WIDTH, _NAME_WIDTH = 9, 15


class Verdict(enum.Enum):
    """How a try ended."""

    OK = "ok"
    """It works."""

    WARNING = "warning"
    """It works, and will perhaps not for long, or not as it should."""

    FAILED = "failed"
    """It does not work."""

    SKIPPED = "skipped"
    """It was not tried; the text says why."""


_COLOURS = {
    Verdict.OK: "\x1b[32m",
    Verdict.WARNING: "\x1b[33m",
    Verdict.FAILED: "\x1b[31m",
    Verdict.SKIPPED: "\x1b[2m",
}
_PLAIN = "\x1b[0m"


@dataclass(frozen=True)
class Finding:
    """What one try told.

    Attributes:
        name: what was tried, in a word or two.
        text: what was seen; never with a secret in it.
        fix: what to do about it; every warning and every failure has one.
    """

    name: str
    verdict: Verdict
    text: str
    fix: str | None = None

    def __post_init__(self) -> None:
        needs_fix = self.verdict in {Verdict.WARNING, Verdict.FAILED}
        assert self.fix or not needs_fix, f"{self.name} does not say what to do"


def as_lines(finding: Finding, *, is_coloured: bool) -> str:
    """Write one line, and a second one for the fix."""
    word = finding.verdict.value.ljust(_VERDICT_WIDTH)
    if is_coloured:
        word = f"{_COLOURS[finding.verdict]}{word}{_PLAIN}"
    lines = f"{word}{finding.name:{_NAME_WIDTH}} {escaped(finding.text)}\n"
    if finding.fix:
        lines += f"{'':{_VERDICT_WIDTH}}{'':{_NAME_WIDTH}} fix: {escaped(finding.fix)}\n"
    return lines


def as_json(findings: Sequence[Finding]) -> str:
    """Write all findings as one list."""
    listed = [
        {"name": one.name, "verdict": one.verdict.value, "text": one.text, "fix": one.fix}
        for one in findings
    ]
    return json.dumps(listed, indent=2, ensure_ascii=False) + "\n"


def exit_status(findings: Iterable[Finding]) -> int:
    """Give 78 if a setting is wrong, 1 if anything else failed, else 0."""
    failed = {one.name for one in findings if one.verdict is Verdict.FAILED}
    if SETTINGS in failed:
        return EX_CONFIG
    return 1 if failed else 0

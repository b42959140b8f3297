"""Log lines as people and journald read them."""

import io
import json
import logging
import subprocess
import sys

import pytest
import structlog

from camagent.logs import LogFormat, configure_logs

SCRIPT = """
import logging, sys, structlog
from camagent.logs import configure_logs
configure_logs(sys.argv[1], "info")
log = structlog.get_logger("camagent.test")
log.debug("too.quiet")
log.info("link.active", device_id="cam", token="hidden-value", note="two words")
log.warning("link.lost", cause="first\\nsecond <3>forged")
logging.getLogger("aiortc").warning("from a library")
logging.getLogger("aiortc").info("library chatter")
try:
    raise ValueError("deep down")
except ValueError:
    log.exception("session.crashed")
"""


def lines(log_format: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, log_format], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("log_format", ["console", "journal", "json"])
def test_every_format_tells_the_same(log_format: str) -> None:
    """Events, their data, libraries' warnings and tracebacks are there; chatter and secrets not."""
    text = "\n".join(lines(log_format))

    for there in ("link.active", "cam", "from a library", "session.crashed", "deep down"):
        assert there in text
    for absent in ("too.quiet", "library chatter", "hidden-value"):
        assert absent not in text


def test_the_journal_gets_priorities() -> None:
    """Each line starts with its syslog priority, tracebacks included."""
    found = lines("journal")

    assert found[0] == "<6>link.active device_id=cam token=*** note='two words'"
    assert found[1].startswith("<4>link.lost")
    assert all(line.startswith("<3>") for line in found[3:])


def test_no_value_starts_a_line_of_its_own() -> None:
    """A newline in a value cannot forge a line, nor its priority."""
    assert [line for line in lines("journal") if line.startswith("<3>forged")] == []
    assert sum("second" in line for line in lines("journal")) == 1


def test_json_lines_are_json() -> None:
    """Each event is one object on one line, its traceback included."""
    found = [json.loads(line) for line in lines("json")]

    assert [one["event"] for one in found] == [
        "link.active",
        "link.lost",
        "from a library",
        "session.crashed",
    ]
    assert [one["level"] for one in found] == ["info", "warning", "warning", "error"]
    assert found[1]["cause"] == "first\nsecond <3>forged"
    assert "ValueError: deep down" in found[3]["exception"]
    assert all(one["ts"].endswith("Z") for one in found)


HOSTILE = """
import logging, sys, structlog
from camagent.logs import configure_logs
configure_logs(sys.argv[1], "info")
log = structlog.get_logger("camagent.test")
log.warning("link.lost", cause="\\x1b]0;title\\x07", reason="one two\\x1b[31m")
logging.getLogger("aiortc").warning("peer said %s", "hello\\n<3>forged\\x1b[31m")
logging.getLogger("aiortc").warning("logged in", extra={"token": "hidden-value"})
log.warning("ice.servers", server={"urls": "turn:a", "credential": "hidden-value"})
"""


@pytest.mark.parametrize("log_format", ["console", "journal", "json"])
def test_nobody_steers_the_terminal_or_reads_a_secret(log_format: str) -> None:
    """Control characters are spelled out, in libraries' lines too; nested secrets are masked."""
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, log_format], capture_output=True, text=True, check=True
    )

    assert len(done.stderr.splitlines()) == 4
    assert "\x1b" not in done.stderr
    assert "hidden-value" not in done.stderr
    assert "turn:a" in done.stderr


@pytest.mark.parametrize(
    ("level", "priority"),
    [("critical", 2), ("error", 3), ("warning", 4), ("info", 6), ("debug", 7)],
)
def test_each_level_has_its_priority(
    monkeypatch: pytest.MonkeyPatch, level: str, priority: int
) -> None:
    """The journal gets the numbers that syslog gives to the levels."""
    told = write(monkeypatch, level, log_format="journal")

    assert told == f"<{priority}>some.event\n"


def test_without_a_journal_lines_are_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` takes the console, without colours where nobody could see them."""
    told = write(monkeypatch, "info", log_format="auto")

    assert "[info     ] some.event" in told


def write(monkeypatch: pytest.MonkeyPatch, level: str, *, log_format: LogFormat) -> str:
    """Log one event where there is no journal."""
    root, ours = logging.getLogger(), logging.getLogger("camagent")
    before = root.handlers[:], root.level, ours.level, structlog.get_config()
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        configure_logs(log_format, "debug", environment={})
        # A name of its own each time: loggers keep what they were first configured with.
        structlog.get_logger(f"camagent.{level}").log(getattr(logging, level.upper()), "some.event")
    finally:
        root.handlers[:], root.level, ours.level, config = before
        structlog.configure(**config)
    return stream.getvalue()

"""Log lines as people and journald read them."""

import subprocess
import sys

import pytest

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

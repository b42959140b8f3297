"""What reaches systemd's journal, read from a socket that stands in its place."""

import io
import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from camagent.journal import JournalHandler, is_journal


def fields_of(datagram: bytes) -> dict[str, str]:
    """Read the native protocol of the journal: `NAME=value`, or a length where lines end inside."""
    found, rest = {}, io.BytesIO(datagram)
    while line := rest.readline():
        name, separator, value = line.rstrip(b"\n").partition(b"=")
        if not separator:
            (size,) = struct.unpack("<Q", rest.read(8))
            value = rest.read(size)
            assert rest.read(1) == b"\n"
        found[name.decode()] = value.decode()
    return found


class Journal:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(5)

    def read(self) -> dict[str, str]:
        return fields_of(self.socket.recv(1 << 20))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    built = Journal(tmp_path / "socket")
    yield built
    built.socket.close()


@pytest.fixture
def log(journal: Journal) -> Iterator[logging.Logger]:
    """Give a logger whose events go to the journal as they are configured to."""
    handler = JournalHandler(journal.path)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                handler.send,
            ],
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder()],
        )
    )
    logger = logging.getLogger("camagent.journal-test")
    logger.propagate = False
    logger.setLevel("DEBUG")
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    handler.close()


def test_each_value_is_a_field(journal: Journal, log: logging.Logger) -> None:
    """The event, its level and every value can be searched for; the message reads as one line."""
    log.warning("link.lost", extra={"session_id": "s1", "retry_in_s": 1.5})
    told = journal.read()

    assert told["MESSAGE"] == "link.lost session_id=s1 retry_in_s=1.5"
    assert (told["EVENT"], told["PRIORITY"], told["LEVEL"]) == ("link.lost", "4", "warning")
    assert (told["SESSION_ID"], told["RETRY_IN_S"]) == ("s1", "1.5")
    assert told["SYSLOG_IDENTIFIER"]


def test_nobody_forges_a_field_or_a_line(journal: Journal, log: logging.Logger) -> None:
    """Line ends in a value stay inside it, and odd names become names that the journal takes."""
    log.info("a.b", extra={"cause": "one\nPRIORITY=0", "_uid 7!": 1, "ünit": 2})
    told = journal.read()

    assert told["PRIORITY"] == "6"
    assert told["CAUSE"] == "one\nPRIORITY=0"
    assert told["MESSAGE"].splitlines() == [told["MESSAGE"]]
    assert told["UID_7_"] == "1"
    assert all(name.isascii() and name[0].isalpha() for name in told)


def test_a_name_that_the_journal_uses_itself_gets_a_prefix(
    journal: Journal, log: logging.Logger
) -> None:
    """A value called `priority` or `code_file` is told beside the journal's own."""
    log.info("a.b", extra={"priority": "high", "code_file": "x"})
    told = journal.read()

    assert (told["PRIORITY"], told["CAMAGENT_PRIORITY"]) == ("6", "high")
    assert told["CAMAGENT_CODE_FILE"] == "x"


def test_a_traceback_is_part_of_the_message(journal: Journal, log: logging.Logger) -> None:
    """Whoever reads a crash by eye sees where it happened."""
    try:
        int("deep down")
    except ValueError:
        log.exception("session.crashed")
    told = journal.read()

    assert told["MESSAGE"].splitlines()[0] == "session.crashed"
    assert told["MESSAGE"].splitlines()[-1].startswith("ValueError: ")
    assert told["PRIORITY"] == "3"


def test_a_journal_that_restarts_hears_the_next_line(journal: Journal, log: logging.Logger) -> None:
    """The socket is looked up for each line."""
    log.info("before")
    assert journal.read()["EVENT"] == "before"
    journal.socket.close()
    journal.path.unlink()
    again = Journal(journal.path)
    log.info("after")

    assert again.read()["EVENT"] == "after"
    again.socket.close()


def test_without_a_journal_there_is_no_handler(tmp_path: Path) -> None:
    """Who asks for the journal where there is none is told at once."""
    with pytest.raises(OSError, match="no socket"):
        JournalHandler(tmp_path / "socket")


def test_only_our_own_standard_error_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A variable inherited from a service is no journal where the stream is another."""
    with (tmp_path / "stream").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        stat = os.fstat(stream.fileno())
        assert is_journal({"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"})
        assert not is_journal({"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino + 1}"})
        assert not is_journal({})

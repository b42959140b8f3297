"""Log lines for systemd's journal: a sentence to read by eye, and every value as a field of its own.

`journalctl -u camagent SESSION_ID=…` and `EVENT=session.closed` find by fields what they name.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from logging_journald import JournaldTransport
from structlog.typing import EventDict, WrappedLogger

# syslog priorities (RFC 5424, table 2).
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_SEND_DEADLINE_S = 0.5
_LONGEST_NAME = 64
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9_]")
# Fields that the journal or its readers give a meaning (systemd.journal-fields(7)).
_TAKEN = re.compile(r"MESSAGE|MESSAGE_ID|PRIORITY|CODE_.*|ERRNO|INVOCATION_ID|SYSLOG_.*|TID|UNIT")
_NOT_DATA = frozenset({"event", "level", "exception"})


def is_journal(environment: Mapping[str, str]) -> bool:
    """Tell whether standard error goes to the journal, as JOURNAL_STREAM says by device and inode."""
    try:
        stream = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


class JournalHandler(logging.Handler):
    """Sends events to the journal's own socket, with all of their fields.

    `send` has to be the last processor of its formatter.

    Raises:
        OSError: there is no journal here.
    """

    def __init__(self, socket_path: Path = JournaldTransport.SOCKET_PATH) -> None:
        super().__init__()
        if not socket_path.is_socket():
            raise FileNotFoundError(f"{socket_path} is no socket")
        # Addressed by path each time: the journal may be restarted and we go on.
        self._transport = JournaldTransport(socket_path, connected=False)
        self._transport.socket.settimeout(_SEND_DEADLINE_S)
        self._identifier = Path(sys.argv[0]).name.removesuffix(".py")

    def emit(self, record: logging.LogRecord) -> None:
        """Format `record`, which ends in `send`."""
        try:
            self.format(record)
        except Exception:  # noqa: BLE001 - logging has its own way of telling what fails in it
            self.handleError(record)

    def close(self) -> None:
        """Let go of the socket."""
        self._transport.socket.close()
        super().close()

    def send(self, _logger: WrappedLogger, _name: str, event: EventDict) -> str:
        """Hand `event` to the journal and give the line that people read."""
        line = "\n".join(lines_of(event))
        fields = {
            "MESSAGE": line,
            "PRIORITY": priority_of(event),
            "SYSLOG_IDENTIFIER": self._identifier,
            **{_field(name): str(value) for name, value in event.items()},
        }
        self._transport.send(fields.items())
        return line


def render_with_priority(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    """Write lines that start with `<N>`, which the journal reads as their priority."""
    priority = priority_of(event)
    return "\n".join(f"<{priority}>{line}" for line in lines_of(event))


def priority_of(event: EventDict) -> int:
    """Give the syslog priority of an event's level."""
    return _PRIORITIES.get(str(event.get("level")), _PRIORITIES["info"])


def lines_of(event: EventDict) -> list[str]:
    """Write an event as one line, and its traceback below."""
    # Whoever chose a value must not be able to start a line of their own.
    words = [
        escaped(str(event.get("event", ""))),
        *(f"{name}={_plain(value)}" for name, value in event.items() if name not in _NOT_DATA),
    ]
    return [" ".join(words), *str(event.get("exception", "")).splitlines()]


def escaped(text: str, *, keep: str = "") -> str:
    """Spell out control characters, except those of `keep`."""
    return "".join(
        letter if letter.isprintable() or letter in keep else ascii(letter)[1:-1] for letter in text
    )


def _plain(value: object) -> str:
    text = str(value)
    return repr(text) if not text or " " in text or not text.isprintable() else text


def _field(name: str) -> str:
    field = _NOT_IN_A_NAME.sub("_", name.upper()).lstrip("_0123456789")[:_LONGEST_NAME]
    return f"CAMAGENT_{field}"[:_LONGEST_NAME] if not field or _TAKEN.fullmatch(field) else field

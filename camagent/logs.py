"""Log lines: coloured on a terminal, with fields under systemd, JSON when asked.

An event is a dotted name with data, never a sentence. Names that smell of a secret are masked
whatever their value. Standard-library loggers of the libraries go the same way.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from camagent.journal import JournalHandler, escaped, is_journal, render_with_priority

LogFormat = Literal["auto", "console", "journal", "json"]

_SECRET = re.compile(r"token|secret|credential|password|authorization|jwt", re.IGNORECASE)


def configure_logs(
    log_format: LogFormat, level: str, *, environment: Mapping[str, str] = os.environ
) -> None:
    """Send every log line of this process to standard error in `log_format`."""
    chosen = _choose(environment) if log_format == "auto" else log_format
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _mask_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler, rendering = _handler(chosen, environment)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *rendering,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("camagent", "server_stub"):
        logging.getLogger(name).setLevel(level.upper())


def _choose(environment: Mapping[str, str]) -> LogFormat:
    return "journal" if is_journal(environment) else "console"


def _handler(
    log_format: LogFormat, environment: Mapping[str, str]
) -> tuple[logging.Handler, list[Processor]]:
    """Give where lines go, and the last steps of their making."""
    stream = logging.StreamHandler(sys.stderr)
    match log_format:
        case "json":
            return stream, [
                structlog.processors.TimeStamper(fmt="iso", key="ts"),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ]
        case "journal":
            return _journal_handler(stream, environment)
        case _:
            return stream, [
                structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
                _escape_controls,
                structlog.dev.ConsoleRenderer(
                    colors=sys.stderr.isatty(),
                    pad_event_to=24,
                    sort_keys=False,
                    # Where rich is installed, the default would print local variables.
                    exception_formatter=structlog.dev.plain_traceback,
                ),
            ]


def _journal_handler(
    stream: logging.Handler, environment: Mapping[str, str]
) -> tuple[logging.Handler, list[Processor]]:
    """Speak to the journal itself; where its socket is out of reach, by the stream it reads."""
    # The journal stamps each line itself.
    before = [structlog.processors.format_exc_info]
    if is_journal(environment):
        with contextlib.suppress(OSError):
            handler = JournalHandler()
            return handler, [*before, handler.send]
    return stream, [*before, render_with_priority]


def _mask_secrets(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        event[key] = _masked(key, value)
    return event


def _masked(key: str, value: Any) -> Any:
    if value and _SECRET.search(key):
        return "***"
    if isinstance(value, Mapping):
        return {inner: _masked(str(inner), value[inner]) for inner in value}
    return value


def _escape_controls(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Keep whoever chose a text from starting a line or steering the terminal."""
    for key, value in event.items():
        if isinstance(value, str):
            # The renderer quotes values with white space in them itself, but not the event.
            event[key] = escaped(value, keep="" if key == "event" else "\t\r\n")
    return event

"""Log lines: coloured on a terminal, with priorities under systemd, JSON when asked.

An event is a dotted name with data, never a sentence. Names that smell of a secret are masked
whatever their value. Standard-library loggers of the libraries go the same way.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "console", "journal", "json"]

_SECRET = re.compile(r"token|secret|credential|password|authorization|jwt", re.IGNORECASE)

# syslog priorities (RFC 5424, table 2), as journald reads them from a line's start.
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(chosen),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("camagent", "server_stub"):
        logging.getLogger(name).setLevel(level.upper())


def _choose(environment: Mapping[str, str]) -> LogFormat:
    if environment.get("JOURNAL_STREAM"):
        return "journal"
    return "console"


def _rendering(log_format: LogFormat) -> list[Processor]:
    match log_format:
        case "json":
            return [
                structlog.processors.TimeStamper(fmt="iso", key="ts"),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ]
        case "journal":
            # The journal stamps each line itself.
            return [structlog.processors.format_exc_info, _render_for_the_journal]
        case _:
            return [
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
            event[key] = _escaped(value, keep="" if key == "event" else "\t\r\n")
    return event


def _escaped(text: str, *, keep: str = "") -> str:
    return "".join(
        letter if letter.isprintable() or letter in keep else ascii(letter)[1:-1] for letter in text
    )


def _render_for_the_journal(
    _logger: WrappedLogger, _name: str, event: MutableMapping[str, object]
) -> str:
    level = str(event.pop("level", "info"))
    trace = event.pop("exception", None)
    # Whoever chose a value must not be able to start a line of their own.
    words = [
        _escaped(str(event.pop("event", ""))),
        *(f"{key}={_plain(event[key])}" for key in event),
    ]
    lines = [" ".join(words), *(str(trace).splitlines() if trace else ())]
    priority = _PRIORITIES.get(level, 6)
    return "\n".join(f"<{priority}>{line}" for line in lines)


def _plain(value: object) -> str:
    text = str(value)
    return repr(text) if not text or " " in text or not text.isprintable() else text

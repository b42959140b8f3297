"""The command line: `camagent` runs the agent, beside it are commands to show, try and use it."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import structlog

from camagent import __version__
from camagent.configuration import read_settings, unknown_names
from camagent.errors import SettingsError
from camagent.logs import configure_logs
from camagent.settings import Settings

log = structlog.get_logger(__name__)

_SYSTEM_ENV_FILE = Path("/etc/camagent/camagent.env")
_NOT_SETTINGS = ("CAMAGENT_RELAY_", "CAMAGENT_ENV_FILE", "CAMAGENT_REQUIRE_ALL")
_COMMANDS = {
    "run": "run the agent (the default)",
    "check": "try everything that can be wrong with this installation, and say how to mend it",
    "snapshot": "write a picture of now into a file, also while the agent runs",
    "demo": "run relay, agent and viewer page on this machine; no settings needed",
}


def run_command(arguments: Sequence[str]) -> None:
    """Do what the command line says.

    Raises:
        SettingsError: a setting is missing or wrong.
        SystemExit: help was asked for, an option does not exist, or a check is over.
    """
    command, rest = _split(arguments)
    match command:
        case "demo":
            _demo(rest)
        case "check":
            _check(rest)
        case "snapshot":
            _snapshot(rest)
        case "run":
            _run(rest)


def _split(arguments: Sequence[str]) -> tuple[str, list[str]]:
    first = arguments[0] if arguments else "run"
    if first in _COMMANDS:
        return first, list(arguments[1:])
    if first == "--version":
        print(f"camagent {__version__}")
        sys.exit(0)
    if not first.startswith("-"):
        print(f"camagent: there is no command {first!r}. {_commands()}", file=sys.stderr)
        sys.exit(2)
    if first in {"-h", "--help"}:
        print(f"{_commands()}\nBefore any setting: --env-file FILE, a file with CAMAGENT_* lines\n")
    return "run", list(arguments)


def _commands() -> str:
    return "\n".join(["Commands:", *(f"  {name:10}{does}" for name, does in _COMMANDS.items())])


def _run(arguments: Sequence[str]) -> None:
    env_file, rest = _take_env_file(arguments)
    settings = read_settings(Settings, arguments=rest, program="camagent", env_file=env_file)
    configure_logs(settings.log_format, settings.log_level)
    for name, meant in unknown_names(Settings, environment=os.environ, env_file=env_file):
        if not name.startswith(_NOT_SETTINGS):
            log.warning("settings.unknown", name=name, did_you_mean=meant)
    # Imported here, for it takes a Pi seconds, and a wrong setting or a help text none.
    from camagent.agent import run_agent  # noqa: PLC0415

    asyncio.run(run_agent(settings))


def _demo(arguments: Sequence[str]) -> None:
    from camagent.demo import run_demo  # noqa: PLC0415 - as the agent

    run_demo(arguments)


def _check(arguments: Sequence[str]) -> NoReturn:
    # Imported here, for the agent has no use for it.
    from camagent.check.command import run_check  # noqa: PLC0415
    from camagent.check.settings import Origin  # noqa: PLC0415

    env_file, rest = _take_env_file(arguments)
    origin = Origin(
        arguments=rest,
        env_file=env_file,
        system_env_file=_SYSTEM_ENV_FILE,
        not_settings=_NOT_SETTINGS,
    )
    sys.exit(run_check(origin))


def _snapshot(arguments: Sequence[str]) -> NoReturn:
    # Imported here, for the agent has no use for it.
    from camagent.snapshot.command import run_snapshot  # noqa: PLC0415

    env_file, rest = _take_env_file(arguments)
    try:
        sys.exit(run_snapshot(rest, env_file=env_file))
    except SettingsError as error:
        if env_file is None and _SYSTEM_ENV_FILE.exists():
            hint = f"{_SYSTEM_ENV_FILE} is not for this user to read: sudo camagent snapshot"
            raise SettingsError([*error.problems, hint]) from error
        raise


def _take_env_file(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Find the env file: named by option or environment it has to exist, else the system's."""
    parser = argparse.ArgumentParser(prog="camagent", add_help=False)
    parser.add_argument("--env-file", type=Path)
    known, rest = parser.parse_known_args(arguments)
    named = known.env_file or os.environ.get("CAMAGENT_ENV_FILE")
    if named is not None:
        path = Path(named)
        if not path.is_file() or not os.access(path, os.R_OK):
            parser.error(f"the env file {path} is missing or not readable")
        return path, rest
    return (_SYSTEM_ENV_FILE if os.access(_SYSTEM_ENV_FILE, os.R_OK) else None), rest

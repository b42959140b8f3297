"""The command line: which command does what, and what its arguments may be."""

import argparse
import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

import structlog
import uvloop

from camagent.configuration import read_settings, unknown_names
from camagent.logs import configure_logs
from server_stub.app import serve_until_asked
from server_stub.auth import is_user_id
from server_stub.commands import (
    CommandFailed,
    add_device,
    end_session,
    grant,
    list_devices,
    list_grants,
    list_sessions,
    print_token,
    remove_device,
    revoke,
    revoke_tokens,
    rotate_token,
)
from server_stub.settings import RelaySettings, StoreSettings
from server_stub.store import Store, open_store

log = structlog.get_logger(__name__)

S = TypeVar("S", bound=StoreSettings)

# The only name that typing has for it.
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001

_SYSTEM_ENV_FILE = Path("/etc/camagent/relay.env")
_MOST_HOURS = 24 * 366
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def run_command(arguments: Sequence[str]) -> None:
    """Do what the command line says.

    Raises:
        CommandFailed: it could not be done.
        SettingsError: a setting is missing or wrong.
        SystemExit: the arguments are wrong.
    """
    parser = _parser()
    for argument in arguments:
        if not _is_text(argument):
            parser.error(f"{argument!r} is not UTF-8 text")
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.command == "serve":
        _serve(_read(RelaySettings, chosen, rest))
    elif chosen.command == "token":
        settings = _read(RelaySettings, chosen, rest)
        print_token(settings, chosen.user, chosen.valid_for_h * 3600)
    else:
        url = _read(StoreSettings, chosen, rest).database_url.get_secret_value()
        asyncio.run(_with_store(url, lambda store: chosen.act(store, chosen)))


def _read(kind: type[S], chosen: argparse.Namespace, rest: Sequence[str]) -> S:
    program = f"camagent-relay {chosen.command}"
    return read_settings(kind, arguments=rest, program=program, env_file=_env_file())


def _serve(settings: RelaySettings) -> None:
    configure_logs(settings.log_format, settings.log_level)
    for name, meant in unknown_names(RelaySettings, environment=os.environ, env_file=_env_file()):
        log.warning("settings.unknown", name=name, did_you_mean=meant)
    try:
        uvloop.run(serve_until_asked(settings))
    except OSError as error:
        names = "CAMAGENT_RELAY_HOST, CAMAGENT_RELAY_PORT"
        raise CommandFailed(f"cannot listen ({names}): {error}") from error


def _env_file() -> Path | None:
    """Find the env file: the environment names it, else it is the system's, where that is readable."""
    if named := os.environ.get("CAMAGENT_ENV_FILE"):
        return Path(named)
    return _SYSTEM_ENV_FILE if os.access(_SYSTEM_ENV_FILE, os.R_OK) else None


async def _with_store(url: str, act: Callable[[Store], Awaitable[None]]) -> None:
    async with open_store(url) as store:
        await act(store)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="camagent-relay",
        description="Pairs viewers with devices. Settings: CAMAGENT_RELAY_*, or options after "
        "the command (camagent-relay serve --port 8001).",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # Its help is that of the settings, which are read elsewhere.
    commands.add_parser("serve", help="run the relay", add_help=False)

    _add_device_commands(commands)
    for name, act, text in (
        ("grant", grant, "let a user watch a device"),
        ("revoke", revoke, "take that right away; running sessions end"),
    ):
        right = commands.add_parser(name, help=text)
        right.add_argument("user", type=_user_id)
        right.add_argument("device")
        right.set_defaults(act=act)
    rights = commands.add_parser("grants", help="list who may watch what")
    _add_list_options(rights)
    rights.set_defaults(act=list_grants)

    token = commands.add_parser("token", help="print a token for a user's browser")
    token.add_argument("user", type=_user_id)
    token.add_argument("--valid-for-h", type=_token_hours, default=12.0, help="hours; default 12")
    _add_session_commands(commands)
    return parser


def _add_device_commands(commands: _Commands) -> None:
    device = commands.add_parser("device", help="devices: add, list, remove, rotate, revoke-token")
    actions = device.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="register a device and print its token, once")
    add.add_argument("device", type=_device_id)
    add.add_argument("--without-token", action="store_true", help="its name alone lets it in")
    add.set_defaults(act=add_device)
    listing = actions.add_parser("list", help="list devices")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(act=list_devices)
    rotate = actions.add_parser("rotate", help="print a new token, once; the old one fades")
    rotate.add_argument(
        "--overlap-h",
        type=_overlap_hours,
        default=24.0,
        help="hours for which the old one is still good; default 24",
    )
    for action, act in (
        (rotate, rotate_token),
        (
            actions.add_parser("revoke-token", help="keep a device out until its next rotate"),
            revoke_tokens,
        ),
        (actions.add_parser("remove", help="forget a device"), remove_device),
    ):
        action.add_argument("device")
        action.set_defaults(act=act)


def _add_session_commands(commands: _Commands) -> None:
    sessions = commands.add_parser("sessions", help="watch sessions: list, end")
    actions = sessions.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list them, the oldest first")
    listing.add_argument("--live", action="store_true", help="only those that have not ended")
    _add_list_options(listing)
    listing.set_defaults(act=list_sessions)
    end = actions.add_parser("end", help="end one that runs, within seconds")
    end.add_argument("session")
    end.set_defaults(act=end_session)


def _add_list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", help="only this user's")
    parser.add_argument("--device", help="only this device's")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _is_text(argument: str) -> bool:
    """Tell what can be written down: Python has bytes that are no UTF-8 as surrogates (PEP 383)."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _device_id(text: str) -> str:
    if not _DEVICE_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "a device id has 1 to 64 letters, digits, dots, dashes and underscores"
        )
    return text


def _token_hours(text: str) -> float:
    hours = _hours(text)
    if not 0 < hours <= _MOST_HOURS:
        raise argparse.ArgumentTypeError(f"a token is valid for up to {_MOST_HOURS} hours")
    return hours


def _overlap_hours(text: str) -> float:
    hours = _hours(text)
    if not 0 <= hours <= _MOST_HOURS:
        raise argparse.ArgumentTypeError(f"an overlap is 0 to {_MOST_HOURS} hours")
    return hours


def _hours(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours") from None


def _user_id(text: str) -> str:
    if not is_user_id(text):
        raise argparse.ArgumentTypeError("a user id has 1 to 128 printable characters")
    return text

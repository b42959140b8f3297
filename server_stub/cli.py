"""The command line: serve, and keep the lists of devices, grants and tokens."""

import argparse
import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog
import uvloop

from camagent.configuration import read_settings, unknown_names
from camagent.logs import configure_logs
from server_stub.app import serve_until_asked
from server_stub.auth import hash_device_token, make_device_token, make_token
from server_stub.settings import RelaySettings, StoreSettings
from server_stub.store import DeviceExists, DeviceUnknown, Store, open_store

log = structlog.get_logger(__name__)

S = TypeVar("S", bound=StoreSettings)

_SYSTEM_ENV_FILE = Path("/etc/camagent/relay.env")
_LONGEST_TOKEN_H = 24 * 366
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class CommandFailed(Exception):
    """A command that could not be carried out; the text says why."""


def run_command(arguments: Sequence[str]) -> None:
    """Do what the command line says.

    Raises:
        CommandFailed: it could not be done.
        SettingsError: a setting is missing or wrong.
    """
    chosen, rest = _parser().parse_known_args(arguments)
    if chosen.command == "serve":
        _serve(_read(RelaySettings, chosen, rest))
    elif chosen.command == "token":
        secret = _read(RelaySettings, chosen, rest).jwt_secret.get_secret_value()
        print(make_token(secret, chosen.user, chosen.valid_for_h * 3600))
    else:
        settings = _read(StoreSettings, chosen, rest)
        asyncio.run(_with_store(settings, lambda store: chosen.act(store, chosen)))


def _read(kind: type[S], chosen: argparse.Namespace, rest: Sequence[str]) -> S:
    program = f"camagent-relay {chosen.command}"
    return read_settings(kind, arguments=rest, program=program, env_file=_env_file())


def _serve(settings: RelaySettings) -> None:
    configure_logs(settings.log_format, settings.log_level)
    for name, meant in unknown_names(RelaySettings, environment=os.environ, env_file=_env_file()):
        log.warning("settings.unknown", name=name, did_you_mean=meant)
    uvloop.run(serve_until_asked(settings))


def _env_file() -> Path | None:
    """Find the env file: the environment names it, else it is the system's, where that is readable."""
    if named := os.environ.get("CAMAGENT_ENV_FILE"):
        return Path(named)
    return _SYSTEM_ENV_FILE if os.access(_SYSTEM_ENV_FILE, os.R_OK) else None


async def _with_store(settings: StoreSettings, act: Callable[[Store], Awaitable[None]]) -> None:
    async with open_store(settings.database_url.get_secret_value()) as store:
        try:
            await act(store)
        except DeviceExists as error:
            raise CommandFailed(f"the device {error} exists already") from error
        except DeviceUnknown as error:
            raise CommandFailed(f"there is no device {error}") from error


async def _add(store: Store, chosen: argparse.Namespace) -> None:
    token = None if chosen.without_token else make_device_token()
    await store.add_device(
        chosen.device, token_hash=None if token is None else hash_device_token(token)
    )
    if token is not None:
        print(token)


async def _list(store: Store, _chosen: argparse.Namespace) -> None:
    for device in await store.devices():
        seen_at = device.last_seen_at
        seen = "never seen" if seen_at is None else f"seen {seen_at:%Y-%m-%d %H:%M} UTC"
        print(f"{device.device_id}\t{'token' if device.token_hash else 'no token'}\t{seen}")


async def _remove(store: Store, chosen: argparse.Namespace) -> None:
    await store.remove_device(chosen.device)


async def _grant(store: Store, chosen: argparse.Namespace) -> None:
    try:
        await store.grant(chosen.user, chosen.device)
    except DeviceUnknown as error:
        raise CommandFailed(f"there is no device {error}; add it first") from error


async def _revoke(store: Store, chosen: argparse.Namespace) -> None:
    if not await store.revoke(chosen.user, chosen.device):
        raise CommandFailed(f"{chosen.user} had no right to watch {chosen.device}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="camagent-relay",
        description="Pairs viewers with devices. Settings: CAMAGENT_RELAY_*, or options after "
        "the command (camagent-relay serve --port 8001).",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # Its help is that of the settings, which are read elsewhere.
    commands.add_parser("serve", help="run the relay", add_help=False)

    device = commands.add_parser("device", help="devices: add, list, remove")
    actions = device.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="register a device and print its token, once")
    add.add_argument("device", type=_device_id)
    add.add_argument("--without-token", action="store_true", help="its name alone lets it in")
    add.set_defaults(act=_add)
    actions.add_parser("list", help="list devices").set_defaults(act=_list)
    remove = actions.add_parser("remove", help="forget a device")
    remove.add_argument("device")
    remove.set_defaults(act=_remove)

    for name, act, text in (
        ("grant", _grant, "let a user watch a device"),
        ("revoke", _revoke, "take that right away"),
    ):
        right = commands.add_parser(name, help=text)
        right.add_argument("user", type=_user_id)
        right.add_argument("device")
        right.set_defaults(act=act)

    token = commands.add_parser("token", help="print a token for a user's browser")
    token.add_argument("user", type=_user_id)
    token.add_argument("--valid-for-h", type=_hours, default=12.0, help="hours; default 12")
    return parser


def _device_id(text: str) -> str:
    if not _DEVICE_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "a device id has 1 to 64 letters, digits, dots, dashes and underscores"
        )
    return text


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hours") from None
    if not 0 < hours <= _LONGEST_TOKEN_H:
        raise argparse.ArgumentTypeError(f"a token is valid for up to {_LONGEST_TOKEN_H} hours")
    return hours


def _user_id(text: str) -> str:
    if not 0 < len(text) <= 128:  # noqa: PLR2004 - the protocol's limit
        raise argparse.ArgumentTypeError("a user id has 1 to 128 characters")
    return text

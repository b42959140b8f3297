"""What the commands of `camagent-relay` do: keep the lists of devices, rights, tokens and sessions."""

import argparse
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from server_stub.auth import hash_device_token, make_device_token, make_token
from server_stub.records import Device, SessionRecord
from server_stub.settings import RelaySettings
from server_stub.store import DeviceExists, DeviceUnknown, Store


class CommandFailed(Exception):
    """A command that could not be carried out; the text says why."""


async def add_device(store: Store, chosen: argparse.Namespace) -> None:
    """Register a device; its token is printed, and kept nowhere."""
    token = None if chosen.without_token else make_device_token()
    token_hash = None if token is None else hash_device_token(token)
    try:
        await store.add_device(chosen.device, token_hash=token_hash)
    except DeviceExists as error:
        raise CommandFailed(f"the device {error} exists already") from error
    if token is not None:
        print(token)


async def list_devices(store: Store, chosen: argparse.Namespace) -> None:
    """List every device."""
    devices = await store.devices()
    if chosen.json:
        _print_json(_described_device(device) for device in devices)
        return
    for device in devices:
        seen_at = device.last_seen_at
        seen = "never seen" if seen_at is None else f"seen {seen_at:%Y-%m-%d %H:%M} UTC"
        print(f"{device.device_id}\t{_tokens_in_words(device)}\t{seen}")


async def remove_device(store: Store, chosen: argparse.Namespace) -> None:
    """Forget a device; where it is connected, it will be closed."""
    try:
        await store.remove_device(chosen.device)
    except DeviceUnknown as error:
        raise CommandFailed(f"there is no device {error}") from error


async def rotate_token(store: Store, chosen: argparse.Namespace) -> None:
    """Print a new token of a device; the old one is good for the overlap."""
    token = make_device_token()
    until = datetime.now(UTC) + timedelta(hours=chosen.overlap_h)
    try:
        await store.rotate_token(chosen.device, hash_device_token(token), others_until=until)
    except DeviceUnknown as error:
        raise CommandFailed(f"there is no device {error}; add it first") from error
    print(token)


async def revoke_tokens(store: Store, chosen: argparse.Namespace) -> None:
    """Keep a device out until it is given a new token."""
    try:
        await store.revoke_tokens(chosen.device)
    except DeviceUnknown as error:
        raise CommandFailed(f"there is no device {error}") from error


async def grant(store: Store, chosen: argparse.Namespace) -> None:
    """Let a user watch a device."""
    try:
        await store.grant(chosen.user, chosen.device)
    except DeviceUnknown as error:
        raise CommandFailed(f"there is no device {error}; add it first") from error


async def revoke(store: Store, chosen: argparse.Namespace) -> None:
    """Take that right away; sessions that need it end."""
    if not await store.revoke(chosen.user, chosen.device):
        raise CommandFailed(f"{chosen.user} had no right to watch {chosen.device}")


async def list_grants(store: Store, chosen: argparse.Namespace) -> None:
    """List who may watch what."""
    found = await store.grants(user_id=chosen.user, device_id=chosen.device)
    if chosen.json:
        _print_json({"user_id": one.user_id, "device_id": one.device_id} for one in found)
        return
    for one in found:
        print(f"{one.user_id}\t{one.device_id}")


async def list_sessions(store: Store, chosen: argparse.Namespace) -> None:
    """List watch sessions, the oldest first."""
    found = await store.sessions(user_id=chosen.user, device_id=chosen.device, is_live=chosen.live)
    if chosen.json:
        _print_json(_described_session(session) for session in found)
        return
    for session in found:
        began = f"{session.started_at:%Y-%m-%d %H:%M:%S} UTC"
        print(
            f"{session.session_id}\t{session.user_id}\t{session.device_id}\t{began}\t{_end(session)}"
        )


async def end_session(store: Store, chosen: argparse.Namespace) -> None:
    """Have the relay that runs a session end it."""
    if not await store.ask_to_end(chosen.session):
        raise CommandFailed(f"there is no live session {chosen.session}")


def print_token(settings: RelaySettings, user_id: str, valid_for_s: float) -> None:
    """Print a token for a user's browser.

    Raises:
        CommandFailed: tokens are signed elsewhere.
    """
    if settings.jwt_secret is None:
        name = "JWT_JWKS_URL" if settings.jwt_public_key is None else "JWT_PUBLIC_KEY"
        raise CommandFailed(
            f"with CAMAGENT_RELAY_{name} tokens come from whoever has the private key; "
            "only a relay with CAMAGENT_RELAY_JWT_SECRET can sign them itself"
        )
    print(
        make_token(
            settings.jwt_secret.get_secret_value(),
            user_id,
            valid_for_s,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )
    )


def _tokens_in_words(device: Device) -> str:
    if not device.needs_token:
        return "no token"
    expiries = [token.expires_at for token in device.tokens if token.expires_at is not None]
    if not device.tokens:
        return "token revoked"
    return (
        f"token, and an older one until {max(expiries):%Y-%m-%d %H:%M} UTC" if expiries else "token"
    )


def _described_device(device: Device) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "needs_token": device.needs_token,
        "tokens": [{"expires_at": _moment(token.expires_at)} for token in device.tokens],
        "created_at": _moment(device.created_at),
        "last_seen_at": _moment(device.last_seen_at),
    }


def _described_session(session: SessionRecord) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "user_id": session.user_id,
        "device_id": session.device_id,
        "started_at": _moment(session.started_at),
        "ended_at": _moment(session.ended_at),
        "reason": session.reason,
    }


def _end(session: SessionRecord) -> str:
    if session.ended_at is None:
        return "live"
    lasted_s = (session.ended_at - session.started_at).total_seconds()
    return f"{session.reason} after {lasted_s:.0f} s"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _print_json(items: Iterable[dict[str, Any]]) -> None:
    print(json.dumps(list(items), indent=2))

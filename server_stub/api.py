"""What the relay tells over plain HTTP, as JSON."""

import time
from typing import Any

from aiohttp import web

from server_stub.auth import TokenInvalid, TokenUnchecked, bearer
from server_stub.records import Device
from server_stub.relay import RELAY, Relay
from server_stub.rights import may_connect

_NOT_KEPT = {"Cache-Control": "no-store"}
_CHECK = "check"
"""Stands in the credentials' username where a session's id would."""


async def list_devices(request: web.Request) -> web.Response:
    """List the devices that the user of a Bearer token may watch, with their presence."""
    relay = request.app[RELAY]
    try:
        identity = await relay.tokens.read(bearer(request.headers.get("Authorization")) or "")
    except TokenUnchecked:
        return web.json_response({"error": "Tokens cannot be checked now"}, status=503)
    except TokenInvalid:
        return _unauthorized()
    devices = await relay.store.devices_of(identity.user_id)
    listed = [await _describe(relay, device) for device in devices]
    return web.json_response({"devices": listed}, headers=_NOT_KEPT)


async def list_ice_servers(request: web.Request) -> web.Response:
    """List the ICE servers that a watch request would bring to `device_id`, for it to try them."""
    relay = request.app[RELAY]
    device_id = request.query.get("device_id")
    # PostgreSQL takes no NUL in a text, not even to compare it.
    if not device_id or "\0" in device_id:
        return web.json_response({"error": "device_id is missing"}, status=400)
    device = await relay.store.device(device_id)
    if device is None:
        return web.json_response({"error": "Device not found"}, status=404)
    if not may_connect(device, bearer(request.headers.get("Authorization"))):
        return _unauthorized()
    servers = relay.ice_servers.for_device(_CHECK, now_s=time.time())
    listed = [server.model_dump(mode="json") for server in servers]
    return web.json_response({"ice_servers": listed}, headers=_NOT_KEPT)


def _unauthorized() -> web.Response:
    return web.json_response(
        {"error": "Invalid token"}, status=401, headers={"WWW-Authenticate": "Bearer"}
    )


async def _describe(relay: Relay, device: Device) -> dict[str, Any]:
    last_seen_at = device.last_seen_at
    return {
        "device_id": device.device_id,
        "is_online": await relay.presence.is_online(device.device_id),
        "last_seen_at": None if last_seen_at is None else last_seen_at.isoformat(),
        "presence": await relay.presence.last_report(device.device_id),
    }

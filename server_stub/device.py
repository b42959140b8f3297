"""The socket of a device."""

import functools
import json
from datetime import UTC, datetime

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from camagent.signaling.messages import (
    FROM_DEVICE,
    SESSION_REPORT,
    WATCH_ENDED,
    DeviceHello,
    DeviceHelloAck,
    DevicePresence,
    FromDevice,
    Heartbeat,
    HeartbeatAck,
    SessionReport,
    SignalAnswer,
    SignalIce,
    WatchEnded,
)
from server_stub.auth import bearer
from server_stub.connection import POLICY_VIOLATION, SERVER_ERROR, Connection
from server_stub.conversation import Conversation
from server_stub.presence import Lease
from server_stub.relay import RELAY, Relay

log = structlog.get_logger(__name__)

REPLACED = "replaced by a newer connection"


async def serve_device(request: web.Request) -> web.StreamResponse:
    """Run one device's connection from hello to the end."""
    relay = request.app[RELAY]
    async with Conversation(
        request, relay.limits, relay.meters.of_device, relay.present
    ) as connection:
        token = bearer(request.headers.get("Authorization"))
        hello = await _introduce(relay, connection, token)
        if hello is not None:
            device_id, request_id = hello.payload.device_id, hello.request_id
            del hello, token  # thousands are connected, and all of them have said it
            connection.owner = device_id
            # For this request's task, which is its own.
            structlog.contextvars.bind_contextvars(device_id=device_id)
            await _serve(relay, connection, device_id, request_id)
    return connection.websocket


async def _introduce(relay: Relay, connection: Connection, token: str | None) -> DeviceHello | None:
    """Learn who it is, or refuse it."""
    hello = await connection.first(FROM_DEVICE)
    if hello is None:
        return None
    if not isinstance(hello, DeviceHello):
        connection.refuse("Unauthorized", request_id=hello.request_id)
        return None
    device_id = hello.payload.device_id
    try:
        device = await relay.known.get(device_id)
    except SQLAlchemyError as error:
        log.warning("device.unchecked", device_id=device_id, problem=type(error).__name__)
        connection.close(SERVER_ERROR, "devices cannot be looked up now")
        return None
    if device is None:
        log.warning("device.unknown", device_id=device_id)
        connection.refuse("Device not found", request_id=hello.request_id)
        return None
    if not relay.rights.let_in(connection, device, token):
        log.warning("device.unauthorized", device_id=device_id, has_secret=token is not None)
        connection.refuse("Unauthorized", request_id=hello.request_id)
        return None
    return hello


async def _serve(
    relay: Relay, connection: Connection, device_id: str, request_id: str | None
) -> None:
    """Be the device's newest connection, everywhere, from before it is told so until it ends."""
    # No lambda: what it takes hold of would have to be kept in cells as long as this lasts.
    on_replaced = functools.partial(_replace, relay, device_id, connection)
    lease = await relay.presence.register(device_id, on_replaced)
    del on_replaced
    try:
        if not relay.presence.holds(lease):
            connection.close(POLICY_VIOLATION, REPLACED)
            return
        older = relay.devices.get(device_id)
        if older is not None:
            _replace(relay, device_id, older)
        relay.devices[device_id] = connection
        connection.send(_acknowledgement(device_id, request_id))
        with relay.sessions.held_by(connection, "device_disconnected"):
            relay.note_seen(device_id)
            log.info("device.online", replaced=older is not None)
            while (message := await connection.next(FROM_DEVICE)) is not None:
                _take(relay, connection, lease, message)
                del message  # rather than keep it until the next one comes
    finally:
        if relay.devices.get(device_id) is connection:
            del relay.devices[device_id]
        relay.note_seen(device_id)
        await relay.presence.unregister(lease)


def _acknowledgement(device_id: str, request_id: str | None) -> DeviceHelloAck:
    payload = DeviceHelloAck.Payload(device_id=device_id, extensions=(WATCH_ENDED, SESSION_REPORT))
    return DeviceHelloAck(request_id=request_id, payload=payload)


def _replace(relay: Relay, device_id: str, older: Connection) -> None:
    """Close a connection whose device has a newer one."""
    if relay.devices.get(device_id) is older:
        del relay.devices[device_id]
    older.close(POLICY_VIOLATION, REPLACED)
    relay.sessions.end_all_of(older, "device_disconnected")


def _take(relay: Relay, connection: Connection, lease: Lease, message: FromDevice) -> None:
    match message:
        case Heartbeat():
            connection.send(HeartbeatAck(request_id=message.request_id))
            relay.presence.refresh(lease)
        case DevicePresence(payload=payload):
            # By way of JSON: an infinite number, which JSON lacks, becomes null.
            report = json.loads(payload.model_dump_json()) | {"reported_at": _now()}
            relay.presence.report(lease, report)
        case (
            SignalAnswer(payload=signal) | SignalIce(payload=signal) | SessionReport(payload=signal)
        ):
            _forward(relay, connection, signal.session_id, message)
        case WatchEnded(payload=end):
            session = relay.sessions.find(end.session_id, connection)
            if session is not None:
                relay.sessions.end(session, end.reason, ended_by=connection, message=end.message)
            elif relay.sessions.is_live(end.session_id):
                connection.send_error("Session not found", request_id=message.request_id)
            # Else both ends saw it end at once, and agree.
        case DeviceHello():
            connection.send_error("Unauthorized", request_id=message.request_id)


def _forward(
    relay: Relay,
    connection: Connection,
    session_id: str,
    message: SignalAnswer | SignalIce | SessionReport,
) -> None:
    if not relay.sessions.forward(session_id, connection, message):
        connection.send_error("Session not found", request_id=message.request_id)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

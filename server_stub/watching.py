"""Starts, serves and ends watch sessions, whichever way their viewers came and wherever the devices are."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from camagent.signaling.messages import (
    DeviceWatchRequest,
    SignalIce,
    SignalOffer,
    WatchEnded,
    WatchReady,
)
from server_stub.connection import Connection
from server_stub.presence import Unreachable
from server_stub.relay import Relay
from server_stub.sessions import End, WatchSession

log = structlog.get_logger(__name__)

UNAUTHORIZED = "Unauthorized"
NOT_FOUND = "Device not found"
OFFLINE = "Device is offline"
UNCHECKED = "Device cannot be looked up now"
UNREACHABLE = "Device cannot be reached now"


class WatchRefused(Exception):
    """There will be no session; the text is for the viewer."""


async def start_watch(
    relay: Relay, viewer: End, *, user_id: str, device_id: str, request_id: str | None = None
) -> WatchSession:
    """Start a session: the viewer's answer, `watch_ready`, and the device's request in this order.

    Raises:
        WatchRefused: the user may not, or the device cannot.
    """
    if refusal := await relay.watching.refuse_request(user_id):
        raise WatchRefused(refusal)
    try:
        await _check_right(relay, user_id, device_id)
    except SQLAlchemyError as error:
        log.warning("watch.unchecked", device_id=device_id, problem=type(error).__name__)
        raise WatchRefused(UNCHECKED) from error
    session_id, now_s = str(uuid.uuid4()), time.time()
    if refusal := await relay.watching.take_place(user_id, session_id):
        raise WatchRefused(refusal)
    ready = WatchReady.Payload(
        session_id=session_id,
        ice_servers=relay.ice_servers.for_viewer(user_id, session_id, now_s=now_s),
    )
    wanted = DeviceWatchRequest.Payload(
        session_id=session_id,
        user_id=user_id,
        ice_servers=relay.ice_servers.for_device(session_id, now_s=now_s),
    )
    opened: list[WatchSession] = []

    def begin(device: End) -> None:
        session = WatchSession(
            device_id, user_id, device, viewer, session_id=session_id, has_place=True
        )
        opened.append(session)
        relay.sessions.open(session)
        viewer.send(WatchReady(request_id=request_id, payload=ready))

    try:
        await _ask_device(relay, device_id, DeviceWatchRequest(payload=wanted), begin)
    finally:
        if not opened:
            relay.watching.leave_place(user_id, session_id)
    if not opened:
        raise WatchRefused(OFFLINE)
    return opened[0]


async def _check_right(relay: Relay, user_id: str, device_id: str) -> None:
    # Who may watch a device knows that there is one; only the others need a second question.
    if not await relay.store.is_granted(user_id, device_id):
        is_known = await relay.store.device(device_id) is not None
        raise WatchRefused(UNAUTHORIZED if is_known else NOT_FOUND)


async def _ask_device(
    relay: Relay, device_id: str, request: DeviceWatchRequest, begin: Callable[[End], None]
) -> None:
    """Call `begin` with the device's end, and then ask the device; neither if it is nowhere.

    Raises:
        WatchRefused: it has too many viewers, or cannot be reached.
    """
    if device := relay.devices.get(device_id):
        if refusal := relay.watching.refuse_viewer(len(relay.sessions.of(device))):
            raise WatchRefused(refusal)
        begin(device)
        device.send(request)
    elif relay.instances is not None:
        try:
            refusal = await relay.instances.watch(request, device_id, begin)
        except Unreachable as error:
            raise WatchRefused(UNREACHABLE) from error
        if refusal:
            raise WatchRefused(refusal)


async def pass_on(relay: Relay, viewer: End, message: SignalOffer | SignalIce) -> bool:
    """Pass a signal of a viewer's on as soon as the device has room; false if there is no session.

    So a burst costs its sender time, and nobody else anything.
    """
    session_id = message.payload.session_id
    session = relay.sessions.find(session_id, viewer)
    if session is not None and isinstance(session.device, Connection):
        await session.device.room()
    return relay.sessions.forward(session_id, viewer, message)


async def end_watch(
    relay: Relay,
    viewer: End | None,
    *,
    user_id: str,
    session_id: str,
    device_id: str | None = None,
) -> bool:
    """End a session of this user's, on whichever connection it began; false if there is none.

    `viewer` is who asks, and hears no echo. With `device_id`, only one of that device is meant. A
    session that an earlier run of the relay began, and no instance knows any more, may go on at its
    device, unless it is too old for that: the device is told, so that the place is free.
    """
    session = relay.sessions.find_of_user(session_id, user_id)
    if session is not None and device_id in {None, session.device_id}:
        relay.sessions.end(session, "user_ended", ended_by=viewer)
        return True
    try:
        left = await relay.store.left_session(
            session_id, user_id, longest_s=relay.sessions.longest_s
        )
    except SQLAlchemyError:
        return False
    # What this instance does not know of its own is over, written down or not.
    is_over = left is None or left.instance_id == relay.instance_id
    if left is None or is_over or device_id not in {None, left.device_id}:
        return False
    asked_at = left.instance_id if left.ended_at is None else None
    try:
        if relay.instances is not None and asked_at is not None:
            is_ended = await relay.instances.end(asked_at, session_id, user_id)
            if is_ended:
                return True
        is_told = await _tell_device(relay, left.device_id, session_id)
    except Unreachable:
        return False
    if is_told:
        now = datetime.now(UTC)
        relay.record(partial(relay.store.end_session, session_id, "user_ended", at=now))
    return is_told


async def _tell_device(relay: Relay, device_id: str, session_id: str) -> bool:
    payload = WatchEnded.Payload(session_id=session_id, reason="user_ended")
    message = WatchEnded(payload=payload)
    if device := relay.devices.get(device_id):
        device.send(message)
        return True
    return relay.instances is not None and await relay.instances.tell_device(device_id, message)

"""Starts a watch session, whichever way its viewer came."""

import time

from camagent.signaling.messages import DeviceWatchRequest, WatchReady
from server_stub.relay import Relay
from server_stub.sessions import End, WatchSession

UNAUTHORIZED = "Unauthorized"
NOT_FOUND = "Device not found"
OFFLINE = "Device is offline"


class WatchRefused(Exception):
    """There will be no session; the text is for the viewer."""


async def start_watch(
    relay: Relay, viewer: End, *, user_id: str, device_id: str, request_id: str | None = None
) -> WatchSession:
    """Start a session: the viewer's answer, `watch_ready`, and the device's request in this order.

    Raises:
        WatchRefused: the user may not, or the device cannot.
    """
    # Who may watch a device knows that there is one; only the others need a second question.
    if not await relay.store.is_granted(user_id, device_id):
        is_known = await relay.store.device(device_id) is not None
        raise WatchRefused(UNAUTHORIZED if is_known else NOT_FOUND)
    device = relay.devices.get(device_id)
    if device is None:
        raise WatchRefused(OFFLINE)
    session = WatchSession(device_id, user_id, device, viewer)
    session_id, now_s = session.session_id, time.time()
    ready = WatchReady.Payload(
        session_id=session_id,
        ice_servers=relay.ice_servers.for_viewer(user_id, session_id, now_s=now_s),
    )
    wanted = DeviceWatchRequest.Payload(
        session_id=session_id,
        user_id=user_id,
        ice_servers=relay.ice_servers.for_device(session_id, now_s=now_s),
    )
    relay.sessions.open(session)
    viewer.send(WatchReady(request_id=request_id, payload=ready))
    device.send(DeviceWatchRequest(payload=wanted))
    return session

"""Whether devices and viewers that were let in may stay: rights change while they are here.

Commands write to the database, and every relay looks there again and again for what concerns its
own connections and sessions, a few hundred at a time, so that nobody's messages wait for it.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import structlog

from server_stub.auth import hash_device_token, is_one_of
from server_stub.connection import POLICY_VIOLATION, Connection
from server_stub.records import Device, Grant
from server_stub.sessions import Sessions, WatchSession
from server_stub.store import Store
from server_stub.tasks import repeatedly

log = structlog.get_logger(__name__)

T = TypeVar("T")

RECHECK_INTERVAL_S = 10.0
_AT_ONCE = 100


def may_connect(device: Device, token: str | None) -> bool:
    """Tell whether a device shows a token that is good, or needs none."""
    return _is_good(None if token is None else hash_device_token(token), device)


class Rights:
    """What the connections of `devices` and the `sessions` may, now and later."""

    def __init__(self, store: Store, devices: Mapping[str, Connection], sessions: Sessions) -> None:
        self._store = store
        self._devices = devices
        self._sessions = sessions
        self._shown: weakref.WeakKeyDictionary[Connection, str] = weakref.WeakKeyDictionary()

    def let_in(self, connection: Connection, device: Device, token: str | None) -> bool:
        """Remember what a device shows, for later; false if it is not let in by that."""
        token_hash = None if token is None else hash_device_token(token)
        if token_hash is not None:
            self._shown[connection] = token_hash
        return _is_good(token_hash, device)

    async def keep_checking(self, every_s: float = RECHECK_INTERVAL_S) -> None:
        """Take back what was taken back, until cancelled."""
        await repeatedly(every_s, self.check)

    async def check(self) -> None:
        """Take back what was taken back since the last time."""
        await self.check_devices()
        await self.check_sessions()

    async def check_devices(self) -> None:
        """Close the connections of devices that are removed, or whose token is good no longer."""
        for some in _some_at_a_time(list(self._devices.items())):
            known = await self._store.devices_named([device_id for device_id, _ in some])
            for device_id, connection in some:
                device = known.get(device_id)
                if device is None:
                    connection.close(POLICY_VIOLATION, "Device not found")
                elif not _is_good(self._shown.get(connection), device):
                    log.warning("device.unauthorized", device_id=device_id, is_connected=True)
                    connection.close(POLICY_VIOLATION, "Unauthorized")

    async def check_sessions(self) -> None:
        """End the sessions of those who may watch no longer, and those that a command wants over."""
        for some in _some_at_a_time(self._sessions.live()):
            granted = await self._store.granted({_right(session) for session in some})
            unwanted = await self._store.asked_to_end([session.session_id for session in some])
            for session in some:
                if _right(session) not in granted:
                    self._sessions.end(session, "error", message="the right to watch is gone")
                elif session.session_id in unwanted:
                    self._sessions.end(session, "user_ended", message="ended on the server")


def _is_good(token_hash: str | None, device: Device) -> bool:
    if not device.needs_token:
        return True
    kept = [token.token_hash for token in device.tokens]
    return token_hash is not None and is_one_of(token_hash, kept)


def _right(session: WatchSession) -> Grant:
    return Grant(session.user_id, session.device_id)


def _some_at_a_time(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]

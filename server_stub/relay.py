"""What all connections of one relay share."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from camagent.signaling.messages import WatchEndReason
from server_stub.batches import Batched
from server_stub.bus import Presence, open_presence
from server_stub.connection import GOING_AWAY, POLICY_VIOLATION, Connection, Limits
from server_stub.door import Door
from server_stub.limits import Tally, TokenBuckets
from server_stub.metrics import Meters
from server_stub.quotas import WatchLimits
from server_stub.sessions import Sessions, WatchSession
from server_stub.settings import RelaySettings
from server_stub.store import Store, open_store
from server_stub.turn import IceServers

log = structlog.get_logger(__name__)

_MOST_RECORDS_WAITING = 10_000
_RECHECK_INTERVAL_S = 10.0
_LAST_RECORDS_DEADLINE_S = 5.0


class Relay:
    """The state of one relay; made by `open_relay`.

    Attributes:
        known: looks registered devices up, those that come together at once.
        devices: the newest connection of each device that is online here.
        sessions: who watches what.
        port: where it listens; set by whoever listens.
        metrics_port: where Prometheus may ask, set likewise; None if nowhere.
        is_draining: True once no new client should come.
    """

    def __init__(self, settings: RelaySettings, store: Store, presence: Presence) -> None:
        self.store = store
        self.presence = presence
        self.jwt_secret = settings.jwt_secret.get_secret_value()
        self.port = settings.port
        self.metrics_port: int | None = None
        self.limits = Limits(
            hello_deadline_s=settings.hello_deadline_s,
            idle_timeout_s=settings.idle_timeout_s,
            messages_per_second=settings.messages_per_second,
            messages_at_once=settings.messages_at_once,
            largest_message_bytes=settings.largest_message_bytes,
        )
        self.is_draining = False
        self.meters = Meters()
        self.watching = WatchLimits(
            requests_per_minute=settings.watch_requests_per_minute,
            sessions_per_user=settings.sessions_per_user,
            sessions_per_device=settings.sessions_per_device,
            meters=self.meters,
        )
        self.door = Door(
            connects=TokenBuckets(
                per_second=settings.connects_per_second, at_once=settings.connects_at_once
            ),
            present=Tally(settings.connections_per_address),
            unlimited=settings.unlimited_addresses,
            header_deadline_s=settings.hello_deadline_s,
            meters=self.meters,
        )
        turn_secret = settings.turn_secret
        self.ice_servers = IceServers(
            stun_urls=settings.stun_urls,
            turn_urls=settings.turn_urls,
            secret=turn_secret.get_secret_value() if turn_secret else None,
            valid_for_s=settings.longest_session_s + settings.answer_deadline_s,
        )
        self.devices: dict[str, Connection] = {}
        self.known = Batched(store.devices_named)
        self._seen: set[str] = set()
        self.sessions = Sessions(
            answer_deadline_s=settings.answer_deadline_s,
            longest_s=settings.longest_session_s,
            on_start=self._write_start,
            on_end=self._write_end,
        )
        self.meters.watch(sessions=lambda: len(self.sessions), devices=lambda: len(self.devices))
        self._connections: set[Connection] = set()
        self._records: asyncio.Queue[Coroutine[Any, Any, object]] = asyncio.Queue(
            _MOST_RECORDS_WAITING
        )

    @contextmanager
    def counted(self, connection: Connection) -> Iterator[None]:
        """Count a connection while the block runs, so that a stop can say goodbye to it."""
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)

    def close_connections(self) -> None:
        """Say goodbye to everybody. Pictures go on without us until both ends are back."""
        self.sessions.forget_all("error")
        for connection in tuple(self._connections):
            connection.close(GOING_AWAY, "relay stops")

    def record(self, work: Coroutine[Any, Any, object]) -> bool:
        """Have something written down soon; nobody waits for the database. False: it cannot be."""
        try:
            self._records.put_nowait(work)
        except asyncio.QueueFull:
            work.close()
            log.warning("relay.record_dropped", waiting=_MOST_RECORDS_WAITING)
            return False
        return True

    def note_seen(self, device_id: str) -> None:
        """Have it written down that a device is or was there; those of a storm together."""
        self._seen.add(device_id)
        if len(self._seen) == 1 and not self.record(self._write_seen()):
            self._seen.clear()

    async def _write_seen(self) -> None:
        seen, self._seen = self._seen, set()
        await self.store.seen(seen)

    async def write_records(self) -> None:
        """Write down what `record` collected, in order, until cancelled."""
        while True:
            work = await self._records.get()
            try:
                await work
            except Exception as error:  # noqa: BLE001 - no record is worth the relay
                log.warning("relay.record_lost", problem=type(error).__name__)
            finally:
                self._records.task_done()

    async def write_last_records(self) -> None:
        """Let `write_records` come to the end, unless the database takes too long."""
        try:
            async with asyncio.timeout(_LAST_RECORDS_DEADLINE_S):
                await self._records.join()
        except TimeoutError:
            log.warning("relay.records_lost", waiting=self._records.qsize())
            while not self._records.empty():
                self._records.get_nowait().close()

    async def drop_removed_devices(self, every_s: float = _RECHECK_INTERVAL_S) -> None:
        """Close the connections of devices that were removed meanwhile, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                known = {device.device_id for device in await self.store.devices()}
            except SQLAlchemyError as error:
                log.warning("relay.database_away", problem=type(error).__name__)
                continue
            for device_id in set(self.devices) - known:
                self.devices[device_id].close(POLICY_VIOLATION, "Device not found")

    def _write_start(self, session: WatchSession) -> None:
        one = session
        self.watching.started(one.user_id, one.device_id)
        self.record(self.store.start_session(one.session_id, one.device_id, one.user_id))
        self.record(self.presence.note_session(one.session_id, one.device_id, one.user_id))

    def _write_end(self, session: WatchSession, reason: WatchEndReason) -> None:
        self.watching.ended(session.user_id, session.device_id)
        self.meters.session_ended(reason)
        self.record(self.store.end_session(session.session_id, reason))
        self.record(self.presence.forget_session(session.session_id))


RELAY: web.AppKey[Relay] = web.AppKey("relay", Relay)


@asynccontextmanager
async def open_relay(settings: RelaySettings) -> AsyncIterator[Relay]:
    """Hold the relay's state: database, presence, and the tasks that keep both."""
    redis_url = settings.redis_url
    async with (
        open_store(settings.database_url.get_secret_value()) as store,
        open_presence(
            redis_url.get_secret_value() if redis_url else None,
            heartbeat_interval_s=settings.heartbeat_interval_s,
            longest_session_s=settings.longest_session_s,
        ) as presence,
    ):
        forgotten = await store.end_forgotten_sessions()
        if forgotten:
            log.warning("relay.sessions_forgotten", sessions=forgotten)
        relay = Relay(settings, store, presence)
        # No task group: it would wrap what the block raises, and neither task fails.
        own = [
            asyncio.create_task(relay.write_records()),
            asyncio.create_task(relay.drop_removed_devices()),
        ]
        try:
            yield relay
        finally:
            await relay.write_last_records()
            for task in own:
                task.cancel()
            await asyncio.wait(own)

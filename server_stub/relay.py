"""What all connections of one relay share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from camagent.signaling.messages import WatchEndReason
from server_stub.addresses import Surroundings
from server_stub.auth import TokenReader
from server_stub.batches import Batched
from server_stub.connection import GOING_AWAY, Connection, Limits
from server_stub.door import Door
from server_stub.key_url import keys_at
from server_stub.keys import FixedKeys, KeySource, keys_of_pem, secret_key
from server_stub.limits import Sharing, Tally, TokenBuckets, keep_local
from server_stub.metrics import Meters
from server_stub.presence import HEARTBEATS_TO_LIVE, MemoryPresence, Presence, new_instance_id
from server_stub.quotas import WatchLimits
from server_stub.rights import Rights
from server_stub.scribe import Record, Scribe
from server_stub.sessions import Sessions, WatchSession
from server_stub.settings import RelaySettings
from server_stub.store import Store, open_store
from server_stub.tasks import beside, repeatedly
from server_stub.turn import IceServers

if TYPE_CHECKING:
    from server_stub.instances import Instances

log = structlog.get_logger(__name__)

_LOOK_INTERVAL_S = 1.0
_LOOKS_AT_ONCE = 100
_LOOKS_WHILE_GOING = 50


class Relay:
    """The state of one relay; made by `open_relay`.

    Attributes:
        known: looks registered devices up, those that come together at once.
        devices: the newest connection of each device that is online here.
        present: every connection that is open here.
        sessions: who watches what.
        rights: whether who is here still may.
        tokens: what reads viewers' tokens.
        port: where it listens; set by whoever listens.
        metrics_port: where Prometheus may ask, set likewise; None if nowhere.
        instance_id: its name among the instances of this relay, new with each start.
        instances: the others, where there may be some.
        unready_because: why no new client should come, such as a stop; None while any may.
    """

    def __init__(
        self,
        settings: RelaySettings,
        store: Store,
        presence: Presence,
        keys: KeySource,
        instance_id: str,
        *,
        sharing: Sharing = keep_local,
    ) -> None:
        self.instance_id = instance_id
        self.instances: Instances | None = None
        self.unready_because: str | None = None
        self.store = store
        self.presence = presence
        self.tokens = TokenReader(keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience)
        self.surroundings = Surroundings(settings.trusted_proxies, settings.allowed_origins)
        self.port = settings.port
        self.metrics_port: int | None = None
        self.limits = Limits(
            hello_deadline_s=settings.hello_deadline_s,
            idle_timeout_s=settings.idle_timeout_s,
            messages_per_second=settings.messages_per_second,
            messages_at_once=settings.messages_at_once,
            largest_message_bytes=settings.largest_message_bytes,
        )
        self.meters = Meters()
        self.watching = WatchLimits(
            requests_per_minute=settings.watch_requests_per_minute,
            sessions_per_user=settings.sessions_per_user,
            sessions_per_device=settings.sessions_per_device,
            meters=self.meters,
            sharing=sharing,
        )
        connects = TokenBuckets(
            per_second=settings.connects_per_second, at_once=settings.connects_at_once
        )
        self.door = Door(
            connects=sharing("connects", connects),
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
        self.rights = Rights(store, self.devices, self.sessions)
        self.meters.watch(sessions=lambda: len(self.sessions), devices=lambda: len(self.devices))
        self.present: set[Connection] = set()
        self._records = Scribe()

    async def drain(self, over_s: float) -> None:
        """Take no new connections and say goodbye to those that are here, spread over `over_s`."""
        self.unready_because = "draining"
        waiting = tuple(self.present)
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        for number, connection in enumerate(waiting, start=1):
            if connection in self.present:
                self._say_goodbye(connection)
            # From the beginning on: goodbyes take time themselves, and every sleep a little more.
            due_s = begun_s + over_s * number / len(waiting)
            await asyncio.sleep(max(0.0, due_s - loop.time()))

    def close_connections(self) -> None:
        """Say goodbye to everybody. Pictures go on without us until both ends are back."""
        self.unready_because = "draining"
        for session in self.sessions.live():
            self._forget(session)
        for connection in tuple(self.present):
            connection.close(GOING_AWAY, "relay stops")

    async def hang_up(self, after_s: float) -> None:
        """Wait until everybody has gone, but no longer: who reads nothing hears no goodbye."""
        for _ in range(_LOOKS_WHILE_GOING):
            if self.present:
                await asyncio.sleep(after_s / _LOOKS_WHILE_GOING)
        for connection in tuple(self.present):
            connection.hang_up()

    def _say_goodbye(self, connection: Connection) -> None:
        for session in self.sessions.of(connection):
            self._forget(session)
        connection.close(GOING_AWAY, "relay stops")

    def _forget(self, session: WatchSession) -> None:
        self.sessions.forget(session, "error")
        if self.instances is not None:
            self.instances.forget(session)

    def record(self, record: Record) -> bool:
        """Have something written down soon; nobody waits for the database. False: it cannot be."""
        return self._records.take(record)

    def note_seen(self, device_id: str) -> None:
        """Have it written down that a device is or was there; those of a storm together."""
        self._seen.add(device_id)
        if len(self._seen) == 1 and not self.record(partial(self._write_seen, self._seen)):
            self._seen.clear()

    async def _write_seen(self, seen: set[str]) -> None:
        if self._seen is seen:
            self._seen = set()  # for whoever comes from now on
        await self.store.seen(seen)

    async def write_records(self) -> None:
        """Write down what `record` collected, in order, until cancelled."""
        await self._records.work()

    async def look_after_connections(self) -> None:
        """Look after all connections time and again, until cancelled: one timer for thousands."""
        await repeatedly(min(_LOOK_INTERVAL_S, self.limits.idle_timeout_s / 5), self._look_after)

    async def _look_after(self) -> None:
        for number, connection in enumerate(tuple(self.present), start=1):
            connection.look_after()
            if number % _LOOKS_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def write_last_records(self) -> None:
        """Let `write_records` come to the end, unless the database takes too long."""
        await self._records.finish()

    def _write_start(self, session: WatchSession) -> None:
        self.record(
            partial(
                self.store.start_session,
                session.session_id,
                session.device_id,
                session.user_id,
                instance_id=self.instance_id,
                at=datetime.now(UTC),
            )
        )

    def _write_end(self, session: WatchSession, reason: WatchEndReason) -> None:
        if session.has_place:
            self.watching.leave_place(session.user_id, session.session_id)
        self.meters.session_ended(reason)
        now = datetime.now(UTC)
        self.record(partial(self.store.end_session, session.session_id, reason, at=now))


RELAY: web.AppKey[Relay] = web.AppKey("relay", Relay)


@asynccontextmanager
async def open_relay(settings: RelaySettings) -> AsyncIterator[Relay]:
    """Hold the relay's state: database, presence, and the tasks that keep both."""
    async with AsyncExitStack() as held:
        store = await held.enter_async_context(open_store(settings.database_url.get_secret_value()))
        keys = await held.enter_async_context(_open_keys(settings))
        if settings.redis_url is None:
            time_to_live_s = HEARTBEATS_TO_LIVE * settings.heartbeat_interval_s
            presence = MemoryPresence(time_to_live_s)
            relay = Relay(settings, store, presence, keys, new_instance_id())
            if forgotten := await store.end_forgotten_sessions():
                log.warning("relay.sessions_forgotten", sessions=forgotten)
        else:
            # Only here: Redis takes memory, which one process alone need not have.
            from server_stub.several import one_of_several  # noqa: PLC0415

            relay = await held.enter_async_context(one_of_several(settings, store, keys))
        async with beside(
            relay.write_records(),
            relay.rights.keep_checking(),
            relay.look_after_connections(),
        ):
            try:
                yield relay
            finally:
                await relay.write_last_records()


@asynccontextmanager
async def _open_keys(settings: RelaySettings) -> AsyncIterator[KeySource]:
    """Hold the keys of viewers' tokens, wherever the settings have them."""
    if settings.jwt_jwks_url is not None:
        async with keys_at(settings.jwt_jwks_url) as keys:
            yield keys
    elif settings.jwt_public_key is not None:
        yield FixedKeys(keys_of_pem(settings.jwt_public_key.get_secret_value()))
    else:
        assert settings.jwt_secret is not None, "the settings have one source of keys"
        yield FixedKeys([secret_key(settings.jwt_secret.get_secret_value())])

"""Makes a relay that is one of several instances, which share Redis."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from server_stub.instances import Instances
from server_stub.keys import KeySource
from server_stub.presence import HEARTBEATS_TO_LIVE, new_instance_id
from server_stub.redis_link import open_redis
from server_stub.redis_presence import RedisPresence
from server_stub.relay import Relay
from server_stub.routing import Routing
from server_stub.settings import RelaySettings
from server_stub.shared_limits import shared_over
from server_stub.shared_places import SharedPlaces
from server_stub.store import Store
from server_stub.tasks import beside

_BEATS_PER_HEARTBEAT = 8
"""So that an instance that is gone is missed within half a heartbeat of the clients."""


@asynccontextmanager
async def one_of_several(
    settings: RelaySettings, store: Store, keys: KeySource
) -> AsyncIterator[Relay]:
    """Hold the state of one instance, which shares Redis with others."""
    assert settings.redis_url is not None
    interval_s = settings.heartbeat_interval_s
    async with open_redis(settings.redis_url.get_secret_value()) as link:
        routing = Routing(link, new_instance_id(), beat_s=interval_s / _BEATS_PER_HEARTBEAT)
        presence = RedisPresence(
            link, routing.instance_id, time_to_live_s=HEARTBEATS_TO_LIVE * interval_s
        )
        relay = Relay(
            settings, store, presence, keys, routing.instance_id, sharing=shared_over(link)
        )
        relay.instances = Instances(
            routing, presence, relay.sessions, relay.devices, store, limits=relay.watching
        )
        async with AsyncExitStack() as held:
            if most := settings.sessions_per_user:
                lease_s = routing.time_to_live_s
                places = SharedPlaces(link, "user", most=most, time_to_live_s=lease_s)
                relay.watching.shared = places
                await held.enter_async_context(beside(places.keep()))
            await held.enter_async_context(relay.instances.joined(tidy_every_s=interval_s))
            yield relay

"""This process as one of several instances of the relay: what it asks of the others.

Redis is asked about nothing that happens between two connections of one instance, so without it
that goes on. What crosses is healed by comparing: with each beat every instance tells those that it
shares sessions with which ones these are, and ends what they do not know of.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import structlog

from camagent.signaling.messages import DeviceWatchRequest, WatchEnded, encode
from server_stub.answering import Answering
from server_stub.envelopes import Asked, Call, Compare, EndWatch, Forget, Open, Tell
from server_stub.presence import Unanswered
from server_stub.quotas import WatchLimits
from server_stub.redis_presence import RedisPresence
from server_stub.routing import Routing, new_request
from server_stub.sessions import End, Sessions, WatchSession
from server_stub.shared import SharedSessions, remote_end
from server_stub.store import Store
from server_stub.tasks import beside, repeatedly
from server_stub.whep_session import Visit, VisitRefused

log = structlog.get_logger(__name__)

_START_DEADLINE_S = 1.0


class Instances:
    """The other instances, seen from this one. It is one of them while `joined`."""

    def __init__(
        self,
        routing: Routing,
        presence: RedisPresence,
        sessions: Sessions,
        devices: Mapping[str, End],
        store: Store,
        *,
        limits: WatchLimits,
    ) -> None:
        self._routing = routing
        self._presence = presence
        self._store = store
        self._shared = SharedSessions(routing, sessions)
        answering = Answering(routing, presence, sessions, self._shared, devices, limits=limits)
        routing.on_envelope = answering.take

    async def watch(
        self, wanted: DeviceWatchRequest, device_id: str, begin: Callable[[End], object]
    ) -> str:
        """Have a device that is connected elsewhere watched; say why not, unless it is not there.

        `begin` is called with the device's end once its instance has opened the session.

        Raises:
            Unreachable: the other instances cannot be asked.
        """
        instance_id = await self._elsewhere(device_id)
        if instance_id is None:
            return ""
        session_id = wanted.payload.session_id
        request = Open(
            sender=self._routing.instance_id,
            request=new_request(),
            session_id=session_id,
            device_id=device_id,
            user_id=wanted.payload.user_id,
            text=encode(wanted),
        )
        device = self._shared.end_at(instance_id, session_id, "device")
        try:
            reply = await self._routing.ask(instance_id, request, lambda: begin(device))
        except Unanswered:
            return ""
        return reply.refusal

    async def end(self, instance_id: str, session_id: str, user_id: str) -> bool:
        """Have another instance end a session of this user's; false if it has none.

        Raises:
            Unreachable: it cannot be asked.
        """
        request = EndWatch(
            sender=self._routing.instance_id,
            request=new_request(),
            session_id=session_id,
            user_id=user_id,
        )
        return await self._have_done(instance_id, request)

    async def visit(self, instance_id: str, visit: Visit) -> None:
        """Have another instance do what a request to a WHEP session asks.

        Raises:
            VisitRefused: it changes nothing.
            Unreachable: it cannot be asked.
            Unanswered: it does not say whether it did.
        """
        own = self._routing.instance_id
        call = Call(sender=own, request=new_request(), visit=visit)
        reply = await self._routing.ask(instance_id, call)
        if not reply.is_done:
            raise VisitRefused(reply.refusal)

    async def tell_device(self, device_id: str, message: WatchEnded) -> bool:
        """Tell a device that is connected elsewhere of an end; false if it is not there.

        Raises:
            Unreachable: the other instances cannot be asked.
        """
        instance_id = await self._elsewhere(device_id)
        if instance_id is None:
            return False
        request = Tell(
            sender=self._routing.instance_id,
            request=new_request(),
            device_id=device_id,
            text=encode(message),
        )
        return await self._have_done(instance_id, request)

    def forget(self, session: WatchSession) -> None:
        """Tell the other instance, if there is one, that this one leaves a session to it."""
        if remote := remote_end(session):
            own = self._routing.instance_id
            self._routing.send(
                remote.instance_id, Forget(sender=own, session_ids=(session.session_id,))
            )

    async def keep(self) -> None:
        """Keep in touch with Redis and the others, until cancelled."""
        while True:
            await self._routing.wait_for_beat()
            try:
                await self._beat()
            except Exception:
                # Without beats the others would take this instance for gone.
                log.exception("instance.beat_failed")

    async def tidy(self, every_s: float) -> None:
        """Close in the database what instances that are gone left open there, until cancelled."""
        await repeatedly(every_s, self._tidy)

    @asynccontextmanager
    async def joined(self, *, tidy_every_s: float) -> AsyncIterator[None]:
        """Be one of the instances while the block runs."""
        async with beside(self._routing.listen()):
            with suppress(TimeoutError):
                async with asyncio.timeout(_START_DEADLINE_S):
                    await self._routing.subscribed()
            await self._beat()
            async with beside(self.keep(), self.tidy(tidy_every_s)):
                yield
            await self._routing.leave()

    async def _have_done(self, instance_id: str, asked: Asked) -> bool:
        """Ask for something; false if it was not done, or if nobody says so."""
        try:
            return (await self._routing.ask(instance_id, asked)).is_done
        except Unanswered:
            return False

    async def _beat(self) -> None:
        """Show that we live; see who else does, and whether we agree about our sessions."""
        if not await self._routing.beat():
            return
        if self._routing.link.back():
            await self._presence.come_back()
        shared = self._shared.by_instance()
        living = await self._routing.living(list(shared))
        for instance_id, sessions in shared.items():
            if living is not None and instance_id not in living:
                log.warning("instance.gone", instance=instance_id, sessions=len(sessions))
                for session in sessions:
                    self._shared.lose(session)
            else:
                ids = tuple(session.session_id for session in sessions)
                envelope = Compare(sender=self._routing.instance_id, session_ids=ids)
                self._routing.send(instance_id, envelope)

    async def _tidy(self) -> None:
        ids = [
            one
            for one in await self._store.instances_in_sessions()
            if one != self._routing.instance_id
        ]
        living = await self._routing.living(ids)
        if living is not None and (gone := [one for one in ids if one not in living]):
            forgotten = await self._store.end_forgotten_sessions(gone)
            log.warning("relay.sessions_forgotten", sessions=forgotten)

    async def _elsewhere(self, device_id: str) -> str | None:
        """Find the other instance that a device is connected to."""
        instance_id = await self._presence.whereabouts(device_id)
        return None if instance_id == self._routing.instance_id else instance_id

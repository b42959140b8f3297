"""How envelopes get from one instance to another: one Redis channel each, and no other way.

What reaches nobody is said to whoever sent it. Each instance sends itself a beat: while that comes
back, its subscription is good, and if it does not, it subscribes anew.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable

import structlog
from pydantic import ValidationError
from redis.asyncio.client import PubSub

from server_stub.envelopes import ENVELOPE, Asked, Beat, Envelope, Reply, channel_of
from server_stub.presence import Unanswered, Unreachable
from server_stub.redis_link import AWAY, TROUBLE, RedisLink

log = structlog.get_logger(__name__)

_REPLY_DEADLINE_S = 5.0
_PAUSE_S = 0.5
_BEATS_TO_LIVE = 3
_MOST_BEATS_MISSED = 3


class Routing:
    """One instance's letter box.

    Attributes:
        instance_id: random, and new with each start.
        on_envelope: what is done with an envelope for us; must not block.
    """

    def __init__(self, link: RedisLink, instance_id: str, *, beat_s: float) -> None:
        self.link = link
        self.instance_id = instance_id
        self.on_envelope: Callable[[Envelope], None] = lambda _: None
        self._beat_s = beat_s
        self._requests: dict[str, Callable[[Reply], None]] = {}
        self._is_subscribed = asyncio.Event()

    @property
    def is_settled(self) -> bool:
        """True once every instance that lives has had the time to show it in Redis."""
        return self.link.up_for_s > self.time_to_live_s + self._beat_s

    @property
    def time_to_live_s(self) -> float:
        """How long an instance that fell silent counts as alive."""
        return _BEATS_TO_LIVE * self._beat_s

    def send(
        self, instance_id: str, envelope: Envelope, on_lost: Callable[[bool], None] | None = None
    ) -> None:
        """Send an envelope after all those before it.

        `on_lost` is called if it does not arrive: with True if nobody is there, and with False if
        Redis is away.
        """
        text = envelope.model_dump_json()
        answer = self.link.tell("PUBLISH", channel_of(instance_id), text)
        if on_lost is not None:
            answer.add_done_callback(lambda done: _judge(done.result(), on_lost))

    async def ask(
        self,
        instance_id: str,
        envelope: Asked,
        on_done: Callable[[], object] = lambda: None,
    ) -> Reply:
        """Send a request, and give the reply.

        `on_done` is called when one arrives that it was done, before whatever arrives after it.

        Raises:
            Unreachable: Redis is away.
            Unanswered: nobody is there, or nobody replied in time.
        """
        replied: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def take(reply: Reply) -> None:
            if not replied.done():
                if reply.is_done:
                    on_done()
                replied.set_result(reply)

        def lose(is_nobody: bool) -> None:  # noqa: FBT001 - as `send` has it
            if not replied.done():
                replied.set_exception(Unanswered(is_late=False) if is_nobody else Unreachable())

        self._requests[envelope.request] = take
        try:
            self.send(instance_id, envelope, lose)
            async with asyncio.timeout(_REPLY_DEADLINE_S):
                return await replied
        except TimeoutError as error:
            raise Unanswered(is_late=True) from error
        finally:
            del self._requests[envelope.request]

    async def listen(self) -> None:
        """Take what comes for us, until cancelled."""
        while True:
            pubsub = self.link.subscribing()
            try:
                async with pubsub:
                    await pubsub.subscribe(channel_of(self.instance_id))
                    self._is_subscribed.set()
                    await self._take_all(pubsub)
            except TROUBLE as error:
                self.link.lost(error)
            finally:
                self._is_subscribed.clear()
            await asyncio.sleep(_PAUSE_S)

    async def beat(self) -> bool:
        """Show that this instance lives; true if Redis is there and carries envelopes to us."""
        channel = channel_of(self.instance_id)
        lease_ms = max(1, round(self.time_to_live_s * 1000))
        answers = await self.link.probe(
            ("SET", channel, "", "PX", lease_ms),
            ("PUBLISH", channel, Beat(sender=self.instance_id).model_dump_json()),
        )
        return answers is not None and answers[1] > 0

    async def wait_for_beat(self) -> None:
        """Wait until the next beat is due: soon, while Redis is away."""
        if not self.link.is_away:
            await asyncio.sleep(self._beat_s)
            return
        await asyncio.sleep(_PAUSE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_S):
                await self._is_subscribed.wait()

    async def subscribed(self) -> None:
        """Wait until something can arrive here."""
        await self._is_subscribed.wait()

    async def living(self, instance_ids: list[str]) -> set[str] | None:
        """Tell which of these instances live; None while that cannot be known."""
        if not instance_ids:
            return set()
        found = await self.link.tell("MGET", *(channel_of(one) for one in instance_ids))
        if found is AWAY or not self.is_settled:
            return None
        return {one for one, value in zip(instance_ids, found, strict=True) if value is not None}

    async def leave(self) -> None:
        """Show that this instance is gone, after everything that it sent."""
        self.link.tell("DEL", channel_of(self.instance_id))
        await self.link.settle()

    async def _take_all(self, pubsub: PubSub) -> None:
        patience_s = _MOST_BEATS_MISSED * self._beat_s + _PAUSE_S
        while True:
            async with asyncio.timeout(patience_s):
                message = None
                while message is None:
                    message = await pubsub.get_message(timeout=patience_s)
            self._take(message["data"])

    def _take(self, text: bytes) -> None:
        try:
            envelope = ENVELOPE.validate_json(text)
            if isinstance(envelope, Reply):
                if take := self._requests.get(envelope.request):
                    take(envelope)
            else:
                self.on_envelope(envelope)
        except ValidationError as error:
            log.warning("routing.envelope_ignored", problem=error.errors()[0]["type"])
        except Exception:
            # One envelope's trouble is not another's.
            log.exception("routing.envelope_failed")


def new_request() -> str:
    """Draw what a reply is known by."""
    return secrets.token_hex(8)


def _judge(answer: object, on_lost: Callable[[bool], None]) -> None:
    if answer is AWAY:
        on_lost(False)  # noqa: FBT003 - as its contract has it
    elif not answer:
        on_lost(True)  # noqa: FBT003 - as its contract has it

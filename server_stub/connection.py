"""What both sockets share: validated messages in, a bounded outbox out, and a clean end."""

import asyncio
import time
from dataclasses import dataclass
from typing import TypeVar

import structlog
from aiohttp import WSMessage, WSMsgType, web

from camagent.errors import MalformedMessage
from camagent.signaling.messages import Direction, Error, Message, encode
from server_stub.limits import TokenBucket
from server_stub.metrics import Meter
from server_stub.outbox import Outbox

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=Message)

NORMAL = 1000
GOING_AWAY = 1001
POLICY_VIOLATION = 1008
SERVER_ERROR = 1011

_LOST = 1006
_PING_INTERVAL_S = 20.0
_AT_ONCE = 16  # of a burst, before others have a turn and what these caused goes out
_LARGE = 8192  # characters, that take as long to read as many messages do
_FORWARDED = frozenset({"signal_offer", "signal_answer", "signal_ice"})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one connection may do."""

    hello_deadline_s: float
    idle_timeout_s: float
    messages_per_second: float
    messages_at_once: int
    largest_message_bytes: int


class Connection:
    """One client's WebSocket. Made by `Conversation`.

    Attributes:
        owner: whose it is, once that is known: the device's or user's id, for the log's line.
        websocket: what the handler of its request has to return.
    """

    __slots__ = (
        "__weakref__",
        "_allowance",
        "_code",
        "_forwarding_since_s",
        "_heard_at_s",
        "_limits",
        "_loop",
        "_meter",
        "_outbox",
        "_pinged_at_s",
        "_received",
        "_sent",
        "_since_s",
        "_why",
        "owner",
        "websocket",
    )

    def __init__(
        self,
        websocket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        limits: Limits,
        meter: Meter,
    ) -> None:
        self.websocket = websocket
        self._outbox = Outbox(websocket, transport)
        self._limits = limits
        self._meter = meter
        self._loop = asyncio.get_running_loop()
        self._since_s = self._heard_at_s = self._pinged_at_s = self._loop.time()
        self._forwarding_since_s: float | None = None
        self._allowance = TokenBucket(
            per_second=limits.messages_per_second,
            at_once=limits.messages_at_once,
            now_s=self._since_s,
        )
        self._why = ""
        self._code: int | None = None
        self._received = self._sent = 0
        self.owner = ""

    @property
    def is_over(self) -> bool:
        """True when nothing can be sent any more, not even a goodbye."""
        return self._outbox.is_over

    @property
    def is_stuck(self) -> bool:
        """True once the client was cut off because it took no message."""
        return self._outbox.untaken is not None

    @property
    def has_room(self) -> bool:
        """False while so much waits here that a peer should not add to it."""
        return self._outbox.has_room

    async def room(self) -> None:
        """Wait until a peer may add to what waits here; at once, if nothing is taken any more."""
        await self._outbox.room()

    def send(self, message: Message) -> None:
        """Send `message` in its turn; never blocks. A client that reads nothing is cut off."""
        self._sent += 1
        self._meter.sent[message.type].inc()
        self._outbox.put(encode(message).encode())

    def send_error(self, text: str, *, request_id: str | None = None) -> None:
        """Tell the client what could not be done."""
        self.send(Error(request_id=request_id, payload=Error.Payload(message=text)))

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued has gone out; never blocks."""
        if not self._outbox.is_closing:
            self._why = self._why or reason
            self._code = code
            self._outbox.close(code, reason)

    def refuse(self, text: str, *, request_id: str | None = None) -> None:
        """Turn away who may not be here: tell why, and close with 1008. Counts as such."""
        self._meter.meters.auth_failed(self._meter.kind)
        self._break_off(text, request_id=request_id)

    async def first(self, direction: Direction[M]) -> M | None:
        """Take the first message, or None after a refusal if it does not come or is wrong."""
        try:
            async with asyncio.timeout(self._limits.hello_deadline_s):
                text = self._read(await self.websocket.receive())
        except ConnectionError:
            return None  # as in `next`
        except TimeoutError:
            self._break_off("no hello in time")
            return None
        if text is None:
            return None
        try:
            message = direction.decode(text)
        except MalformedMessage as error:
            self._break_off(f"Invalid message: {error}", request_id=error.request_id)
            return None
        self._meter.received[message.type].inc()
        return message

    async def next(self, direction: Direction[M]) -> M | None:
        """Take the next message, or None when the connection is over; answer what is no message."""
        if self._forwarding_since_s is not None:
            took_s = time.perf_counter() - self._forwarding_since_s
            self._meter.meters.forward_s.observe(took_s)
            self._forwarding_since_s = None
        received = self._meter.received
        while True:
            try:
                text = self._read(await self.websocket.receive())
            except ConnectionError:
                return None  # aiohttp answered a ping, of a client that has hung up since
            if text is None:
                return None
            if len(text) > _LARGE or self._received % _AT_ONCE == 0:
                await asyncio.sleep(0)  # what is in the buffer is taken without a wait
            if self._outbox.is_closing:
                continue  # sent before it could know
            if self._allowance.wait_s(self._heard_at_s):
                self.stop_flood()
                continue
            try:
                message = direction.decode(text)
            except MalformedMessage as error:
                received["malformed"].inc()
                self.send_error(f"Invalid message: {error}", request_id=error.request_id)
                continue
            received[message.type].inc()
            if message.type in _FORWARDED:
                self._forwarding_since_s = time.perf_counter()
            return message

    def look_after(self) -> None:
        """Ping now and then, and close once nothing was heard for too long.

        Not by aiohttp: its timers are several for each connection, and it takes a pong for a word,
        which a client's library sends whether or not its program is alive. Whether the client's
        machine is there, the kernel tells: it gives up where a ping is not acknowledged.
        """
        now_s = self._loop.time()
        if now_s - self._heard_at_s >= self._limits.idle_timeout_s:
            self.close(POLICY_VIOLATION, "silent for too long")
        elif now_s - self._pinged_at_s >= _PING_INTERVAL_S:
            self._pinged_at_s = now_s
            self._outbox.ping()

    async def settle(self) -> None:
        """Wait until what is queued has gone out, or is given up."""
        await self._outbox.settle()

    def end(self) -> None:
        """Say in one line how it went; nothing more is taken for sending."""
        self._outbox.is_closing = True
        self._meter.connections.dec()
        if self._outbox.untaken is not None:
            messages, size = self._outbox.untaken
            self._why = f"took no messages: {messages} waited with {size} bytes"
            self._meter.meters.outbox_drops.inc(messages)
        _drop_frames(self.websocket.exception())
        code = self.websocket.close_code if self._code in (None, NORMAL) else self._code
        log.info(
            "connection.ended",
            kind=self._meter.kind,
            **({self._meter.owner_field: self.owner} if self.owner else {}),
            why=self._why or ("connection lost" if code in (None, _LOST) else "client left"),
            code=int(code or _LOST),
            duration_s=round(self._loop.time() - self._since_s, 1),
            received=self._received,
            sent=self._sent,
        )

    def crash(self) -> None:
        """Close after a fault of ours."""
        self._why = self._why or "crashed"
        self.close(SERVER_ERROR, "server error")

    def stop_flood(self) -> None:
        """Turn away who sends too much."""
        if not self._outbox.is_closing:
            self._meter.meters.limited("messages")
            self._break_off("rate limit")

    def _break_off(self, text: str, *, request_id: str | None = None) -> None:
        """Tell the client what it did wrong, and close with 1008."""
        self.send_error(text, request_id=request_id)
        self.close(POLICY_VIOLATION, text)

    def _read(self, message: WSMessage) -> str | None:
        """Take the text out of what came, or None when the connection is over."""
        self._heard_at_s = self._loop.time()
        self._received += 1
        match message.type:
            case WSMsgType.TEXT:
                return str(message.data)
            case WSMsgType.BINARY:
                return ""  # no message of the protocol, and answered like one
            case WSMsgType.ERROR:
                self._why = self._why or f"broken: {message.data}"
        return None

    def hang_up(self) -> None:
        """Drop the socket; a goodbye that is on its way arrives."""
        self._outbox.hang_up()

    def abort(self) -> None:
        """Drop the socket without a word."""
        self._outbox.abort()


def _drop_frames(error: BaseException | None) -> None:
    """Cut the circle of a WebSocket, the error that ended it, and the frames that met the error.

    It would leave the whole connection to the garbage collector, to be found among all others.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__

"""What both sockets share: validated messages in, a bounded outbox out, and a clean end."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog
from aiohttp import WSMsgType, web

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
_CLOSE_DEADLINE_S = 2.0
_PING_INTERVAL_S = 20.0
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
    """One client's WebSocket. Made by `accepted`.

    Attributes:
        owner: whose it is, once that is known: `device_id` or `user_id` of the log's line.
    """

    __slots__ = (
        "__weakref__",
        "_allowance",
        "_code",
        "_heard_at_s",
        "_idle",
        "_is_stuck",
        "_limits",
        "_loop",
        "_meter",
        "_outbox",
        "_received",
        "_sent",
        "_since_s",
        "_websocket",
        "_why",
        "owner",
    )

    def __init__(
        self,
        websocket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        limits: Limits,
        meter: Meter,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._websocket = websocket
        self._outbox = Outbox(websocket, transport, tasks, self._note_stuck)
        self._limits = limits
        self._meter = meter
        self._loop = asyncio.get_running_loop()
        self._since_s = self._heard_at_s = self._loop.time()
        self._idle: asyncio.TimerHandle | None = None
        self._allowance = TokenBucket(
            per_second=limits.messages_per_second,
            at_once=limits.messages_at_once,
            now_s=self._since_s,
        )
        self._is_stuck = False
        self._why = ""
        self._code: int | None = None
        self._received = self._sent = 0
        self.owner: dict[str, str] = {}

    @property
    def response(self) -> web.WebSocketResponse:
        """What aiohttp wants back from a socket's handler."""
        return self._websocket

    @property
    def is_over(self) -> bool:
        """True when nothing can be sent any more, not even a goodbye."""
        return self._outbox.is_over

    @property
    def is_stuck(self) -> bool:
        """True once the client was cut off because it took no message."""
        return self._is_stuck

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
                text = await self._receive()
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

    async def messages(self, direction: Direction[M]) -> AsyncIterator[M]:
        """Yield what the client says until the connection ends; answer what is no message."""
        self._check_silence()
        received = self._meter.received
        while (text := await self._receive()) is not None:
            if self._outbox.is_closing:
                continue  # sent before it could know
            if self._allowance.wait_s(self._heard_at_s):
                self._meter.meters.limited("messages")
                self._break_off("rate limit")
                continue
            try:
                message = direction.decode(text)
            except MalformedMessage as error:
                received["malformed"].inc()
                self.send_error(f"Invalid message: {error}", request_id=error.request_id)
                continue
            received[message.type].inc()
            if message.type not in _FORWARDED:
                yield message
                continue
            since_s = time.perf_counter()
            yield message
            self._meter.meters.forward_s.observe(time.perf_counter() - since_s)

    def end(self) -> None:
        """Say in one line how it went; nothing more is taken for sending."""
        self._outbox.is_closing = True
        if self._idle is not None:
            self._idle.cancel()
        self._meter.connections.dec()
        code = self._websocket.close_code if self._code in (None, NORMAL) else self._code
        log.info(
            "connection.ended",
            kind=self._meter.kind,
            **self.owner,
            why=self._why or ("connection lost" if code in (None, _LOST) else "client left"),
            code=code or _LOST,
            duration_s=round(self._loop.time() - self._since_s, 1),
            received=self._received,
            sent=self._sent,
        )

    def crash(self) -> None:
        """Close after a fault of ours."""
        self._why = self._why or "crashed"
        self.close(SERVER_ERROR, "server error")

    def _break_off(self, text: str, *, request_id: str | None = None) -> None:
        """Tell the client what it did wrong, and close with 1008."""
        self.send_error(text, request_id=request_id)
        self.close(POLICY_VIOLATION, text)

    async def _receive(self) -> str | None:
        """Take one text, or None when the connection is over."""
        message = await self._websocket.receive()
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

    def _check_silence(self) -> None:
        """Close once nothing was heard for too long, else look again when that could be.

        Not aiohttp's own timeout: that starts anew with every pong, which a client's library sends
        whether or not its program is alive.
        """
        left_s = self._heard_at_s + self._limits.idle_timeout_s - self._loop.time()
        if left_s <= 0:
            self.close(POLICY_VIOLATION, "silent for too long")
        else:
            self._idle = self._loop.call_later(left_s, self._check_silence)

    def _note_stuck(self, messages: int, size: int) -> None:
        self._is_stuck = True
        self._why = f"took no messages: {messages} waited with {size} bytes"
        self._meter.meters.outbox_drops.inc(messages)

    def _abort(self) -> None:
        self._outbox.abort()


@asynccontextmanager
async def accepted(request: web.Request, limits: Limits, meter: Meter) -> AsyncIterator[Connection]:
    """Hold one WebSocket. A fault of ours inside the block closes it with 1011, and only it."""
    websocket = web.WebSocketResponse(
        compress=False,
        heartbeat=_PING_INTERVAL_S,
        max_msg_size=limits.largest_message_bytes,
        timeout=_CLOSE_DEADLINE_S,
    )
    try:
        await websocket.prepare(request)
    except ConnectionError as error:
        # The client is gone already. Anything else than an answer would be logged as our fault.
        raise web.HTTPBadRequest(text="gone") from error
    meter.connections.inc()
    async with asyncio.TaskGroup() as tasks:
        connection = Connection(websocket, request.transport, limits, meter, tasks)
        try:
            yield connection
            connection.close(NORMAL, "")
        except Exception:
            log.exception("connection.crashed")
            connection.crash()
        finally:
            connection.end()

"""What both sockets share: validated messages in, a bounded outbox out, and a clean end."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog
from aiohttp import WSMsgType, web

from camagent.errors import MalformedMessage
from camagent.signaling.messages import LARGEST_MESSAGE_BYTES, Direction, Error, Message, encode

log = structlog.get_logger(__name__)

M = TypeVar("M")

NORMAL = 1000
GOING_AWAY = 1001
POLICY_VIOLATION = 1008
SERVER_ERROR = 1011

_MOST_WAITING = 64
_MOST_WAITING_BYTES = 256 * 1024
_SEND_DEADLINE_S = 10.0
_CLOSE_DEADLINE_S = 2.0
_PING_INTERVAL_S = 20.0
_LONGEST_REASON_BYTES = 123


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one connection may do."""

    hello_deadline_s: float
    idle_timeout_s: float
    messages_per_second: float
    messages_at_once: int


@dataclass(frozen=True)
class _Close:
    code: int
    reason: str


class Connection:
    """One client's WebSocket. Made by `accepted`."""

    def __init__(
        self, websocket: web.WebSocketResponse, transport: asyncio.Transport | None, limits: Limits
    ) -> None:
        self._websocket = websocket
        self._transport = transport
        self._limits = limits
        self._outbox: deque[bytes | _Close] = deque()
        self._waiting_bytes = 0
        self._more = asyncio.Event()
        self._is_closing = False
        self._is_aborted = False
        self._is_stuck = False
        self._allowance = float(limits.messages_at_once)
        self._counted_at_s = time.monotonic()

    @property
    def response(self) -> web.WebSocketResponse:
        """What aiohttp wants back from a socket's handler."""
        return self._websocket

    @property
    def is_over(self) -> bool:
        """True when nothing can be sent any more, not even a goodbye."""
        return self._is_aborted or self._websocket.closed

    @property
    def is_stuck(self) -> bool:
        """True once the client was cut off because it took no message."""
        return self._is_stuck

    def send(self, message: Message) -> None:
        """Queue `message`; never blocks. A client that reads nothing is cut off, not waited for."""
        if self._is_closing:
            return
        text = encode(message).encode()
        self._waiting_bytes += len(text)
        self._outbox.append(text)
        self._more.set()
        if len(self._outbox) > _MOST_WAITING or self._waiting_bytes > _MOST_WAITING_BYTES:
            self._cut_off()

    def send_error(self, text: str, *, request_id: str | None = None) -> None:
        """Tell the client what could not be done."""
        self.send(Error(request_id=request_id, payload=Error.Payload(message=text)))

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued has gone out; never blocks."""
        if not self._is_closing:
            self._is_closing = True
            self._outbox.append(_Close(code, reason))
            self._more.set()

    def refuse(self, text: str, *, request_id: str | None = None) -> None:
        """Tell the client why, and close with 1008."""
        self.send_error(text, request_id=request_id)
        self.close(POLICY_VIOLATION, text)

    async def first(self, direction: Direction[M]) -> M | None:
        """Take the first message, or None after a refusal if it does not come or is wrong."""
        try:
            async with asyncio.timeout(self._limits.hello_deadline_s):
                text = await self._receive()
        except TimeoutError:
            self.refuse("no hello in time")
            return None
        if text is None:
            return None
        try:
            return direction.decode(text)
        except MalformedMessage as error:
            self.refuse(f"Invalid message: {error}", request_id=error.request_id)
            return None

    async def messages(self, direction: Direction[M]) -> AsyncIterator[M]:
        """Yield what the client says until the connection ends; answer what is no message."""
        while (text := await self._receive()) is not None:
            if self._is_closing:
                continue  # sent before it could know
            if not self._may_speak():
                log.warning("connection.rate_limited")
                self.refuse("rate limit")
                continue
            try:
                message = direction.decode(text)
            except MalformedMessage as error:
                log.info("connection.message_refused", problem=str(error))
                self.send_error(f"Invalid message: {error}", request_id=error.request_id)
            else:
                yield message

    async def write(self) -> None:
        """Send what is queued until the connection closes: the task of `accepted`."""
        try:
            while True:
                while not self._outbox:
                    self._more.clear()
                    await self._more.wait()
                item = self._outbox.popleft()
                if isinstance(item, _Close):
                    await self._say_goodbye(item)
                    return
                self._waiting_bytes -= len(item)
                async with asyncio.timeout(_SEND_DEADLINE_S):
                    await self._websocket.send_frame(item, WSMsgType.TEXT)
        except TimeoutError:
            self._cut_off()
        except ConnectionError:
            self._abort()

    async def _say_goodbye(self, close: _Close) -> None:
        async with asyncio.timeout(_SEND_DEADLINE_S):
            await self._websocket.close(code=close.code, message=_fitting(close.reason))

    async def _receive(self) -> str | None:
        """Take one text, or None when the connection is over."""
        try:
            # Not aiohttp's own timeout: that starts anew with every pong, which a client's
            # library sends whether or not its program is alive.
            async with asyncio.timeout(self._limits.idle_timeout_s):
                message = await self._websocket.receive()
        except TimeoutError:
            self.close(POLICY_VIOLATION, "silent for too long")
            return None
        match message.type:
            case WSMsgType.TEXT:
                return str(message.data)
            case WSMsgType.BINARY:
                return ""  # no message of the protocol, and answered like one
            case _:
                return None

    def _may_speak(self) -> bool:
        """Take one from the token bucket; false when it is empty."""
        now_s = time.monotonic()
        gained = (now_s - self._counted_at_s) * self._limits.messages_per_second
        self._allowance = min(self._allowance + gained, float(self._limits.messages_at_once))
        self._counted_at_s = now_s
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _cut_off(self) -> None:
        log.warning("connection.stuck", waiting=len(self._outbox), bytes=self._waiting_bytes)
        self._is_stuck = True
        self._abort()

    def _abort(self) -> None:
        """Drop the socket: a polite close would wait for a client that does not read."""
        self._is_closing = self._is_aborted = True
        self._outbox.clear()
        self._waiting_bytes = 0
        if self._transport is not None:
            self._transport.abort()


@asynccontextmanager
async def accepted(request: web.Request, limits: Limits) -> AsyncIterator[Connection]:
    """Hold one WebSocket. A fault of ours inside the block closes it with 1011, and only it."""
    websocket = web.WebSocketResponse(
        compress=False,
        heartbeat=_PING_INTERVAL_S,
        max_msg_size=LARGEST_MESSAGE_BYTES,
        timeout=_CLOSE_DEADLINE_S,
    )
    try:
        await websocket.prepare(request)
    except ConnectionError as error:
        # The client is gone already. Anything else than an answer would be logged as our fault.
        raise web.HTTPBadRequest(text="gone") from error
    connection = Connection(websocket, request.transport, limits)
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(connection.write())
        try:
            yield connection
            connection.close(NORMAL, "")
        except Exception:
            log.exception("connection.crashed")
            connection.close(SERVER_ERROR, "server error")
        finally:
            if connection.is_over:
                writing.cancel()


def _fitting(reason: str) -> bytes:
    """Cut a reason to what a close frame holds, between two characters (RFC 6455, 5.5)."""
    return reason.encode()[:_LONGEST_REASON_BYTES].decode(errors="ignore").encode()

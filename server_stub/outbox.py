"""What goes out to one client: at once while its socket takes it, else in a bounded queue.

    put ── nothing waits, the socket has room ──> transport
     └──── else ──> queue ──> drain, a task that lives as long as something waits ──> transport

A client that takes nothing is cut off; waiting for it would cost memory, and its peers their time.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from dataclasses import dataclass

import structlog
from aiohttp import WSMsgType, web

log = structlog.get_logger(__name__)

_MOST_WAITING = 64
_MOST_WAITING_BYTES = 256 * 1024
_SEND_DEADLINE_S = 10.0
# Where asyncio and uvloop let a paused writer go on: below it nobody is asked to wait.
_ROOMY_BYTES = 16 * 1024
_LONGEST_REASON_BYTES = 123
_PING = bytes((0x89, 0))
_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class _Close:
    code: int
    reason: str


class Outbox:
    """The outgoing half of one WebSocket.

    Attributes:
        is_closing: nothing more is taken for sending.
        is_aborted: the socket was dropped without a goodbye.
        untaken: how many messages, with how many bytes, were given up as the client took none.
    """

    __slots__ = (
        "_draining",
        "_queue",
        "_room",
        "_transport",
        "_waiting_bytes",
        "_websocket",
        "is_aborted",
        "is_closing",
        "untaken",
    )

    def __init__(
        self, websocket: web.WebSocketResponse, transport: asyncio.Transport | None
    ) -> None:
        self._websocket = websocket
        self._transport = transport
        self._queue: deque[bytes | _Close] | None = None
        self._waiting_bytes = 0
        self._draining: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        self.is_closing = False
        self.is_aborted = False
        self.untaken: tuple[int, int] | None = None

    @property
    def is_over(self) -> bool:
        """True when nothing can be sent any more, not even a goodbye."""
        return self.is_aborted or self._websocket.closed

    @property
    def has_room(self) -> bool:
        """False while half of what may wait does. The other half is for the relay's own messages."""
        return not self._queue or (
            len(self._queue) < _MOST_WAITING // 2 and self._waiting_bytes < _MOST_WAITING_BYTES // 2
        )

    async def room(self) -> None:
        """Wait for `has_room`; not if nothing more is taken."""
        while not (self.has_room or self.is_closing):
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def ping(self) -> None:
        """Ask the client's machine for a sign of life, unless there is something to acknowledge."""
        transport = self._transport
        if (
            self.is_closing
            or self._draining is not None
            or transport is None
            or self._websocket.closed
        ):
            return
        if not (transport.is_closing() or transport.get_write_buffer_size()):
            transport.write(_PING)

    def put(self, text: bytes) -> None:
        """Send `text`, now or as soon as it can be; never blocks."""
        transport = self._transport
        if self.is_closing or self._websocket.closed or transport is None:
            return
        if self._draining is None and transport.get_write_buffer_size() < _ROOMY_BYTES:
            if not transport.is_closing():
                transport.write(_frame(text))
            return
        self._waiting_bytes += len(text)
        self._wait(text)
        assert self._queue is not None
        if len(self._queue) > _MOST_WAITING or self._waiting_bytes > _MOST_WAITING_BYTES:
            self._cut_off()

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued has gone out; never blocks, and a second time is nothing."""
        if not self.is_closing:
            self.is_closing = True
            self._tell_of_room()
            if not self._websocket.closed:
                self._wait(_Close(code, reason))

    def abort(self) -> None:
        """Drop the socket: a polite close would wait for a client that does not read."""
        self.is_closing = self.is_aborted = True
        self._queue = None
        self._waiting_bytes = 0
        self._tell_of_room()
        if self._transport is not None:
            held = self._transport.get_extra_info("socket")
            if held is not None:
                # Reset at once: the kernel would keep megabytes for a client that reads nothing.
                with contextlib.suppress(OSError):
                    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self._transport.abort()

    def hang_up(self) -> None:
        """Drop the socket, but not what the kernel has taken already: a goodbye may be among it."""
        if self._transport is None or self._queue or self._transport.get_write_buffer_size():
            self.abort()
        else:
            self._transport.close()

    async def settle(self) -> None:
        """Wait until what is queued has gone out, or is given up."""
        if self._draining is not None:
            await self._draining

    def _tell_of_room(self) -> None:
        if self._room is not None and (self.is_closing or self.has_room):
            self._room.set()
            self._room = None

    def _wait(self, item: bytes | _Close) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(item)
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        """Send what is queued, waiting for the socket each time."""
        try:
            while self._queue:
                item = self._queue.popleft()
                if isinstance(item, _Close):
                    await self._say_goodbye(item)
                    return
                self._waiting_bytes -= len(item)
                self._tell_of_room()
                async with asyncio.timeout(_SEND_DEADLINE_S):
                    await self._websocket.send_frame(item, WSMsgType.TEXT)
            self._queue = None
        except TimeoutError:
            self._cut_off()
        except ConnectionError:
            self.abort()
        except Exception:
            log.exception("connection.crashed")
            self.abort()
        finally:
            self._draining = None

    async def _say_goodbye(self, close: _Close) -> None:
        async with asyncio.timeout(_SEND_DEADLINE_S):
            await self._websocket.close(code=close.code, message=fitting(close.reason))

    def _cut_off(self) -> None:
        if self.untaken is None:
            self.untaken = len(self._queue or ()), self._waiting_bytes
        self.abort()


def fitting(reason: str) -> bytes:
    """Cut a reason to what a close frame holds, between two characters (RFC 6455, 5.5)."""
    return reason.encode()[:_LONGEST_REASON_BYTES].decode(errors="ignore").encode()


def _frame(text: bytes) -> bytes:
    """Lay out one whole text frame of a server: final and not masked (RFC 6455, 5.2)."""
    size = len(text)
    if size < 126:  # noqa: PLR2004 - where the short form of the length ends
        return bytes((0x81, size)) + text
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, size) + text
    return struct.pack("!BBQ", 0x81, 127, size) + text

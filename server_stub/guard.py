"""Stands between a socket and aiohttp, which would parse at once whatever comes."""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from server_stub.frames import FrameAllowance

_END_OF_HEADERS = b"\r\n\r\n"


class Guard(asyncio.Protocol):
    """Hands on to `inner` what a client sends. `on_lost` is told when the socket is gone."""

    __slots__ = ("_ends_with_headers", "_frames", "_inner", "_latest", "_on_lost")

    def __init__(
        self, inner: web.RequestHandler, on_lost: Callable[[web.RequestHandler], None]
    ) -> None:
        self._inner = inner
        self._on_lost = on_lost
        self._frames: FrameAllowance | None = None
        self._latest = b""
        self._ends_with_headers = False

    def expect_frames(self, frames: FrameAllowance) -> bool:
        """Count what comes from now on as frames; false if some have come before their time.

        For after a request's headers, and before they are answered by the switch of protocols: a
        client has to wait for that (RFC 6455, 4.1).
        """
        if self._ends_with_headers:
            self._frames = frames
            self._latest = b""
        return self._ends_with_headers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._frames is None:
            text = self._latest + data
            self._ends_with_headers = text.find(_END_OF_HEADERS) == len(text) - 4
            self._latest = text[-3:]
        else:
            data = self._frames.pass_on(data, time.monotonic())
            if not data:
                return
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """See `asyncio.Protocol`."""
        self._inner.eof_received()
        return None

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._frames = None
        self._on_lost(self._inner)
        self._inner.connection_lost(error)


def count_frames(
    request: web.Request,
    websocket: web.WebSocketResponse,
    messages_per_second: float,
    messages_at_once: int,
) -> FrameAllowance:
    """Have the frames counted that follow a handshake, if `request` is one.

    Raises:
        web.HTTPBadRequest: some came before it was answered.
    """
    frames = FrameAllowance(
        messages_per_second=messages_per_second,
        messages_at_once=messages_at_once,
        now_s=time.monotonic(),
    )
    transport = request.transport
    if transport is not None and websocket.can_prepare(request):
        guard = transport.get_protocol()
        assert isinstance(guard, Guard), "the door puts one before every connection"
        if not guard.expect_frames(frames):
            raise web.HTTPBadRequest(text="frames come after the answer to the handshake\n")
    return frames

"""Stands between a socket and aiohttp, which would parse at once whatever comes."""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from server_stub.frames import FrameAllowance

_END_OF_HEADERS = b"\r\n\r\n"


class Guard(asyncio.Protocol):
    """Hands on to `inner` what a client sends. `on_lost` is told when the socket is gone."""

    __slots__ = ("_ends_with_headers", "_frames", "_inner", "_is_early", "_latest", "_on_lost")

    def __init__(
        self, inner: web.RequestHandler, on_lost: Callable[[web.RequestHandler], None]
    ) -> None:
        self._inner = inner
        self._on_lost = on_lost
        self._frames: FrameAllowance | None = None
        self._latest = b""
        self._ends_with_headers = False
        self._is_early = True
        """Something came after the headers of the request that is being handled."""

    def begin_request(self) -> None:
        """Hear that a request's headers are there, and that it is handled from now on."""
        self._is_early = not self._ends_with_headers

    def expect_frames(self, frames: FrameAllowance) -> bool:
        """Count what comes from now on as frames; false if some have come before their time.

        For before the request is answered by the switch of protocols: a client has to wait for that
        (RFC 6455, 4.1).
        """
        if not self._is_early:
            self._frames = frames
            self._latest = b""
        return not self._is_early

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._frames is None:
            text = self._latest + data
            self._ends_with_headers = text.find(_END_OF_HEADERS) == len(text) - 4
            self._latest = text[-3:]
            self._is_early = True
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


def begin_request(request: web.Request) -> None:
    """Have it noticed what a client sends before its request is answered."""
    if (guard := _guard_of(request)) is not None:
        guard.begin_request()


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
    guard = _guard_of(request)
    if guard is not None and websocket.can_prepare(request) and not guard.expect_frames(frames):
        raise web.HTTPBadRequest(text="frames come after the answer to the handshake\n")
    return frames


def _guard_of(request: web.Request) -> Guard | None:
    """Find who guards the connection of a request, unless it is gone."""
    if request.transport is None:
        return None
    guard = request.transport.get_protocol()
    assert isinstance(guard, Guard), "the door puts one before every connection"
    return guard

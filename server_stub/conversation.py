"""Holds the WebSocket of one request, from its upgrade to its end."""

import asyncio
from types import TracebackType

import structlog
from aiohttp import web

from server_stub.connection import NORMAL, Connection, Limits
from server_stub.guard import count_frames
from server_stub.metrics import Meter

log = structlog.get_logger(__name__)

_CLOSE_DEADLINE_S = 2.0


class Conversation:
    """One WebSocket, among those that are `present`, for as long as the block runs.

    A fault of ours in the block closes the WebSocket with 1011, and only it. No coroutine around
    another, and no generator, each of them several times as large: thousands are connected.
    """

    __slots__ = ("_connection", "_limits", "_meter", "_present", "_request")

    def __init__(
        self, request: web.Request, limits: Limits, meter: Meter, present: set[Connection]
    ) -> None:
        self._request = request
        self._limits = limits
        self._meter = meter
        self._present = present
        self._connection: Connection

    async def __aenter__(self) -> Connection:
        """Upgrade the request.

        Raises:
            HTTPBadRequest: the client is gone already, asked for no WebSocket, or did not wait for
                it.
        """
        websocket = web.WebSocketResponse(
            compress=False,
            max_msg_size=self._limits.largest_message_bytes,
            timeout=_CLOSE_DEADLINE_S,
        )
        rates = self._limits.messages_per_second, self._limits.messages_at_once
        frames = count_frames(self._request, websocket, *rates)
        try:
            await websocket.prepare(self._request)
        except ConnectionError as error:
            # Anything else than an answer would be logged as our fault.
            raise web.HTTPBadRequest(text="gone") from error
        websocket.headers.clear()  # they are sent, and would take a kilobyte as long as this lasts
        connection = Connection(websocket, self._request.transport, self._limits, self._meter)
        self._connection = connection
        frames.watch(connection)
        self._meter.connections.inc()
        self._present.add(connection)
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        """Close politely, or as the error demands; true, and no more of it, for a fault of ours."""
        connection = self._connection
        if error is None:
            connection.close(NORMAL, "")
        elif isinstance(error, Exception):
            log.error("connection.crashed", exc_info=error)
            connection.crash()
        elif isinstance(error, asyncio.CancelledError):
            connection.abort()
        self._present.discard(connection)
        try:
            await connection.settle()
        finally:
            connection.end()
        return isinstance(error, Exception)

"""The socket of a viewer."""

import asyncio

import structlog
from aiohttp import web

from camagent.signaling.messages import (
    FROM_VIEWER,
    EndWatch,
    FromViewer,
    Heartbeat,
    HeartbeatAck,
    SignalIce,
    SignalOffer,
    ViewerHello,
    ViewerHelloAck,
    ViewerWatchRequest,
)
from server_stub.auth import Identity, TokenInvalid, TokenUnchecked
from server_stub.connection import POLICY_VIOLATION, SERVER_ERROR, Connection
from server_stub.conversation import Conversation
from server_stub.relay import RELAY, Relay
from server_stub.watching import WatchRefused, end_watch, pass_on, start_watch

log = structlog.get_logger(__name__)


async def serve_viewer(request: web.Request) -> web.StreamResponse:
    """Run one viewer's connection from hello to the end."""
    relay = request.app[RELAY]
    async with Conversation(
        request, relay.limits, relay.meters.of_viewer, relay.present
    ) as connection:
        viewer = _Viewer(relay, connection)
        if await viewer.introduce():
            connection.owner = viewer.user_id
            # For this request's task, which is its own.
            structlog.contextvars.bind_contextvars(user_id=viewer.user_id)
            await viewer.serve()
    return connection.websocket


class _Viewer:
    """One signed-in viewer."""

    def __init__(self, relay: Relay, connection: Connection) -> None:
        self._relay = relay
        self._connection = connection
        self._expiry: asyncio.TimerHandle | None = None
        self.user_id = ""

    async def introduce(self) -> bool:
        """Learn who it is; false after a refusal."""
        hello = await self._connection.first(FROM_VIEWER)
        if hello is None:
            return False
        if not isinstance(hello, ViewerHello):
            self._connection.refuse("Unauthorized", request_id=hello.request_id)
            return False
        return await self._take_hello(hello)

    async def serve(self) -> None:
        """Do what the viewer asks until its connection ends, and its sessions with it."""
        try:
            with self._relay.sessions.held_by(self._connection, "viewer_disconnected"):
                while (message := await self._connection.next(FROM_VIEWER)) is not None:
                    await self._take(message)
                    del message  # rather than keep it until the next one comes
        finally:
            if self._expiry is not None:
                self._expiry.cancel()

    async def _take(self, message: FromViewer) -> None:
        match message:
            case Heartbeat():
                self._connection.send(HeartbeatAck(request_id=message.request_id))
            case ViewerWatchRequest():
                await self._watch(message)
            case SignalOffer() | SignalIce():
                if not await pass_on(self._relay, self._connection, message):
                    self._fail("Session not found", message)
            case EndWatch():
                await self._end(message)
            case ViewerHello():
                await self._take_hello(message)

    async def _end(self, message: EndWatch) -> None:
        """End a session of this user's, be it on a connection that is gone without our knowing."""
        session_id = message.payload.session_id
        if not await end_watch(
            self._relay, self._connection, user_id=self.user_id, session_id=session_id
        ):
            self._fail("Session not found", message)

    async def _take_hello(self, hello: ViewerHello) -> bool:
        """Accept a token: the first, or a fresh one of the same user before the old one ends."""
        try:
            identity = await self._relay.tokens.read(hello.payload.token)
        except TokenUnchecked:
            log.warning("viewer.unchecked")
            self._connection.close(SERVER_ERROR, "tokens cannot be checked now")
            return False
        except TokenInvalid as error:
            log.info("viewer.refused", problem=str(error))
            self._connection.refuse("Invalid token", request_id=hello.request_id)
            return False
        if self.user_id and identity.user_id != self.user_id:
            self._connection.refuse("Unauthorized", request_id=hello.request_id)
            return False
        self.user_id = identity.user_id
        self._expire_with(identity)
        payload = ViewerHelloAck.Payload(user_id=identity.user_id)
        self._connection.send(ViewerHelloAck(request_id=hello.request_id, payload=payload))
        return True

    def _expire_with(self, identity: Identity) -> None:
        """Let the connection end when the token does."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(
            identity.left_s, self._connection.close, POLICY_VIOLATION, "token expired"
        )

    async def _watch(self, request: ViewerWatchRequest) -> None:
        try:
            await start_watch(
                self._relay,
                self._connection,
                user_id=self.user_id,
                device_id=request.payload.device_id,
                request_id=request.request_id,
            )
        except WatchRefused as refusal:
            self._fail(str(refusal), request)

    def _fail(self, text: str, request: FromViewer) -> None:
        self._connection.send_error(text, request_id=request.request_id)

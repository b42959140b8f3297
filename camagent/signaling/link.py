"""The device's WebSocket: connect, say hello, converse, and for ever try again.

    CONNECTING → CONNECTED → HELLO_SENT → AUTHENTICATED → ACTIVE → DISCONNECTING → DISCONNECTED → …

One socket at a time. Only a hello_ack proves that the server wants this device, and only one that
held for a while resets the delays between attempts.
"""

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import NoReturn, Protocol

import structlog
from websockets import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.asyncio.client import ClientConnection, connect

from camagent import __version__
from camagent.errors import ClockNotSet, LinkError, LinkRejected, MalformedMessage
from camagent.progress import Progress
from camagent.signaling.backoff import RetryDelays
from camagent.signaling.cancellation import heed_cancellation
from camagent.signaling.causes import describe_error, is_ours, is_vanished, lost_silently
from camagent.signaling.conversation import Conversation, Rhythm
from camagent.signaling.goodbye import say_goodbye
from camagent.signaling.lifecycle import Lifecycle, LinkState
from camagent.signaling.messages import (
    LARGEST_MESSAGE_BYTES,
    TO_DEVICE,
    DeviceHello,
    DeviceHelloAck,
    DevicePresence,
    Error,
    FromDevice,
    ToDevice,
    encode,
)
from camagent.signaling.options import LinkOptions
from camagent.trouble import Trouble

log = structlog.get_logger(__name__)

_POLICY_VIOLATION = 1008
_GOING_AWAY = 1001
_UNAUTHORIZED = frozenset({401, 403})
_HANDSHAKE_DEADLINE_S = 2.0
_CLOSE_DEADLINE_S = _HANDSHAKE_DEADLINE_S + 0.5
_LOCAL_RETRY_DELAY_S = 2.0
_NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL
_TRANSIENT = (OSError, TimeoutError, WebSocketException, LinkError)


class LinkListener(Protocol):
    """Who is told what the link sees. No call may block or raise."""

    def link_active(self) -> None:
        """Tell that watch requests may come now."""

    def link_lost(self) -> None:
        """Tell that an active link is gone."""

    def take(self, message: ToDevice) -> None:
        """Handle one message of the server."""


class Link:
    """The connection to the server, across reconnects.

    `describe` gives what presence reports; call `presence_changed` when that changed.

    Attributes:
        progress: whether its loop still moves.
        connections: how often the server accepted the hello.
    """

    def __init__(
        self,
        options: LinkOptions,
        listener: LinkListener,
        describe: Callable[[], DevicePresence.Payload],
        *,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._options = options
        self._listener = listener
        self._describe = describe
        self._rhythm = Rhythm(
            heartbeat_interval_s=options.heartbeat_interval_s,
            heartbeat_deadline_s=options.heartbeat_deadline_s,
            presence_interval_s=options.presence_interval_s,
        )
        self._lifecycle = Lifecycle()
        self._conversation: Conversation | None = None
        self._became_active = asyncio.Event()
        self._has_settled = asyncio.Event()
        self._was_active = False
        self._delays = RetryDelays(
            first_s=options.first_retry_delay_s,
            longest_s=options.longest_retry_delay_s,
            jitter=jitter,
        )
        self._trouble = Trouble()
        self.progress = Progress()
        self.connections = 0

    @property
    def state(self) -> LinkState:
        """Where the connection stands."""
        return self._lifecycle.state

    @property
    def problem(self) -> str | None:
        """Why the server cannot be reached; None while it can, or before the first attempt."""
        return self._trouble.cause

    async def until_active(self) -> None:
        """Wait until watch requests can come."""
        await self._became_active.wait()

    async def until_settled(self) -> None:
        """Wait until the first attempt is over: the server accepted us, or the next one is due."""
        await self._has_settled.wait()

    def send(self, message: FromDevice) -> None:
        """Queue `message`; without an active link, or beyond what the server speaks, drop it."""
        if self._conversation is None:
            log.debug("link.message_dropped", type=message.type, state=self.state.value)
        else:
            self._conversation.send(message)

    def presence_changed(self) -> None:
        """Report presence soon."""
        if self._conversation is not None:
            self._conversation.presence_changed()

    async def run(self) -> NoReturn:
        """Stay connected until cancelled."""
        while True:
            delay_s = 0.0
            try:
                await self._attempt()
            except* LinkRejected as rejected:
                delay_s = self._options.longest_retry_delay_s
                self._trouble.tell("link.rejected", describe_error(rejected), retry_in_s=delay_s)
            except* _TRANSIENT as lost:
                delay_s = max(delay_s, self._next_delay_s(lost))
                cause = describe_error(lost)
                self._trouble.tell("link.lost", cause, retry_in_s=round(delay_s, 1))
            heed_cancellation()
            self._has_settled.set()
            self.progress.expect_within(delay_s)
            await asyncio.sleep(delay_s)

    async def _attempt(self) -> None:
        """Connect once and converse until the socket is gone, which always ends in an error."""
        self._was_active = False
        self.progress.expect_within(2 * self._options.hello_deadline_s + _CLOSE_DEADLINE_S)
        async with self._connected() as websocket:
            extensions = await self._introduce(websocket)
            self._lifecycle.enter(LinkState.ACTIVE)
            with self._active(extensions) as conversation:
                await conversation.run(partial(_receive, websocket), websocket.send)

    @contextlib.contextmanager
    def _active(self, extensions: frozenset[str]) -> Iterator[Conversation]:
        """Let the listener know that the server is there, and when it is gone."""
        loop = asyncio.get_running_loop()
        active_since_s = loop.time()
        self._trouble.is_over()
        self._conversation = Conversation(
            extensions=extensions,
            rhythm=self._rhythm,
            describe=self._describe,
            take=self._listener.take,
            progress=self.progress,
        )
        self.connections += 1
        self._was_active = True
        self._became_active.set()
        self._has_settled.set()
        self._listener.link_active()
        log.info("link.active", extensions=sorted(extensions))
        try:
            yield self._conversation
        finally:
            self.progress.expect_within(_CLOSE_DEADLINE_S)
            if loop.time() - active_since_s >= self._options.stable_after_s:
                self._delays.start_again()
            self._conversation = None
            self._became_active.clear()
            self._listener.link_lost()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[ClientConnection]:
        """Hold one open socket; translate what ends it, and say goodbye when we are stopped."""
        self._lifecycle.enter(LinkState.CONNECTING)
        try:
            websocket = await self._connect()
        except BaseException:
            self._lifecycle.enter(LinkState.DISCONNECTED)
            raise
        self._lifecycle.enter(LinkState.CONNECTED)
        code = 1000
        try:
            yield websocket
        except asyncio.CancelledError:
            code = _GOING_AWAY
            raise
        finally:
            self._lifecycle.enter(LinkState.DISCONNECTING)
            await say_goodbye(websocket, code, deadline_s=_CLOSE_DEADLINE_S)
            self._lifecycle.enter(LinkState.DISCONNECTED)

    async def _connect(self) -> ClientConnection:
        token = self._options.device_token
        try:
            return await connect(
                self._options.url,
                ssl=self._options.tls,
                additional_headers={"Authorization": f"Bearer {token}"} if token else None,
                user_agent_header=f"camagent/{__version__}",
                compression=None,
                # Our own heartbeat is the authority on a half-open connection.
                ping_interval=None,
                open_timeout=self._options.hello_deadline_s,
                close_timeout=_HANDSHAKE_DEADLINE_S,
                max_size=4 * LARGEST_MESSAGE_BYTES,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if status in _UNAUTHORIZED:
                raise LinkRejected(status, error.response.reason_phrase) from error
            raise
        except ssl.SSLCertVerificationError as error:
            if error.verify_code == _NOT_YET_VALID:
                raise ClockNotSet(time.time()) from error
            raise
        except ImportError as error:
            raise LinkError(f"this proxy needs a package that is missing: {error}") from error

    async def _introduce(self, websocket: ClientConnection) -> frozenset[str]:
        """Say hello; give the extensions that the server offers."""
        device_id = self._options.device_id
        hello = DeviceHello(payload=DeviceHello.Payload(device_id=device_id))
        await websocket.send(encode(hello))
        self._lifecycle.enter(LinkState.HELLO_SENT)
        try:
            async with asyncio.timeout(self._options.hello_deadline_s):
                acknowledged = await self._await_hello_ack(websocket)
        except TimeoutError as error:
            deadline_s = self._options.hello_deadline_s
            raise LinkError(f"no hello_ack within {deadline_s:g} s") from error
        self._lifecycle.enter(LinkState.AUTHENTICATED)
        return frozenset(acknowledged.payload.extensions)

    async def _await_hello_ack(self, websocket: ClientConnection) -> DeviceHelloAck:
        while True:
            message = await _receive(websocket)
            match message:
                case DeviceHelloAck():
                    return message
                case Error():
                    # The close code that follows says what this means for us.
                    log.warning("link.server_error", message=message.payload.message)
                case _:
                    log.warning("link.too_early", type=getattr(message, "type", None))

    def _next_delay_s(self, lost: BaseExceptionGroup[BaseException]) -> float:
        """Wait longer each time, unless what is missing is on this side: it may come any moment."""
        if is_ours(lost):
            return min(_LOCAL_RETRY_DELAY_S, self._options.longest_retry_delay_s)
        if self._was_active and is_vanished(lost):
            return self._delays.next_after_vanishing_s()
        return self._delays.next_s()


async def _receive(websocket: ClientConnection) -> ToDevice | None:
    """Take the next message; what is none is logged and dropped."""
    try:
        text = await websocket.recv()
    except ConnectionClosed as closed:
        frame = closed.rcvd
        if frame is not None and frame.code == _POLICY_VIOLATION:
            raise LinkRejected(frame.code, frame.reason) from closed
        if frame is not None:
            raise LinkError(f"server closed the connection: {frame}") from closed
        raise lost_silently(closed.__cause__) from closed
    try:
        message = TO_DEVICE.decode(text)
    except MalformedMessage as error:
        log.warning("link.message_ignored", problem=str(error), bytes=len(text))
        return None
    log.debug("link.received", type=message.type, bytes=len(text))
    return message

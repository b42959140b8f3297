"""What is said on one active connection: messages, heartbeats and presence, until it breaks."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

import structlog

from camagent.errors import LinkError
from camagent.progress import Progress
from camagent.signaling.messages import (
    SESSION_REPORT,
    WATCH_ENDED,
    DevicePresence,
    Error,
    FromDevice,
    Heartbeat,
    HeartbeatAck,
    SessionReport,
    ToDevice,
    WatchEnded,
    encode,
)

log = structlog.get_logger(__name__)

_OUTBOX_MESSAGES = 256
_EXTENSIONS: dict[type, str] = {WatchEnded: WATCH_ENDED, SessionReport: SESSION_REPORT}
"""What a server takes only if it says so."""

_SHORTEST_PRESENCE_INTERVAL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How often the device speaks by itself, and how long it waits for an answer."""

    heartbeat_interval_s: float
    heartbeat_deadline_s: float
    presence_interval_s: float


class Conversation:
    """One active connection, from the hello_ack on.

    Args:
        extensions: what the server offers beyond the protocol; nothing else beyond it is sent.
        rhythm: how often to speak.
        describe: gives what presence reports.
        take: is handed every message that is not about the connection itself.
        progress: promised the next heartbeat at each one.
    """

    def __init__(
        self,
        *,
        extensions: frozenset[str],
        rhythm: Rhythm,
        describe: Callable[[], DevicePresence.Payload],
        take: Callable[[ToDevice], None],
        progress: Progress,
    ) -> None:
        self.extensions = extensions
        self._rhythm = rhythm
        self._describe = describe
        self._take = take
        self._progress = progress
        self._outbox: asyncio.Queue[FromDevice] = asyncio.Queue(_OUTBOX_MESSAGES)
        self._overflow = asyncio.Event()
        self._acked = asyncio.Event()
        self._presence_changed = asyncio.Event()

    def send(self, message: FromDevice) -> None:
        """Queue `message`, or drop it if the server does not speak it."""
        extension = _EXTENSIONS.get(type(message))
        if extension is not None and extension not in self.extensions:
            log.debug("link.message_dropped", type=message.type)
            return
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            # A server that takes nothing in is lost; memory is not the place to wait for it.
            self._overflow.set()

    def presence_changed(self) -> None:
        """Report presence soon."""
        self._presence_changed.set()

    async def run(
        self,
        receive: Callable[[], Awaitable[ToDevice | None]],
        write: Callable[[str], Awaitable[None]],
    ) -> NoReturn:
        """Converse until the connection breaks.

        Raises:
            ExceptionGroup: of what `receive` and `write` raise, or of LinkError when the server
                leaves heartbeats unanswered or messages unread.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write(write), name="link-write")
            tasks.create_task(self._beat(), name="link-heartbeat")
            tasks.create_task(self._report_presence(), name="link-presence")
            tasks.create_task(self._watch_outbox(), name="link-outbox")
            while True:
                self._hand_on(await receive())
        raise AssertionError("the loop above ends by an error only")

    def _hand_on(self, message: ToDevice | None) -> None:
        match message:
            case None:
                pass
            case HeartbeatAck():
                self._acked.set()
            case Error(payload=problem):
                log.warning(
                    "link.server_error", message=problem.message, request_id=message.request_id
                )
            case _:
                self._take(message)

    async def _write(self, write: Callable[[str], Awaitable[None]]) -> NoReturn:
        while True:
            message = await self._outbox.get()
            text = encode(message)
            await write(text)
            log.debug("link.sent", type=message.type, bytes=len(text))

    async def _beat(self) -> NoReturn:
        """Send heartbeats; a server that leaves one unanswered is gone, whatever TCP believes."""
        interval_s, deadline_s = (
            self._rhythm.heartbeat_interval_s,
            self._rhythm.heartbeat_deadline_s,
        )
        while True:
            self._progress.expect_within(interval_s + deadline_s)
            await asyncio.sleep(interval_s)
            self._acked.clear()
            self.send(Heartbeat())
            try:
                async with asyncio.timeout(deadline_s):
                    await self._acked.wait()
            except TimeoutError as error:
                raise LinkError(f"no heartbeat_ack within {deadline_s:g} s") from error

    async def _report_presence(self) -> NoReturn:
        """Report on connect, when something changed, and once in a while."""
        while True:
            self._presence_changed.clear()
            self.send(DevicePresence(payload=self._describe()))
            await asyncio.sleep(_SHORTEST_PRESENCE_INTERVAL_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rhythm.presence_interval_s):
                    await self._presence_changed.wait()

    async def _watch_outbox(self) -> NoReturn:
        await self._overflow.wait()
        raise LinkError(f"the server left {_OUTBOX_MESSAGES} messages unread")

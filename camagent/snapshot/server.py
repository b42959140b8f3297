"""The agent's side of the snapshot socket: one picture for each connection, few at a time.

Whoever can connect is allowed to; the socket's permissions see to that. Nobody who sends nonsense,
stalls or leaves costs more than a place for some seconds.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from camagent.errors import CameraError, RestartNeeded
from camagent.snapshot.exchange import REQUEST, SOCKET_NAME, picture_header, problem_line

log = structlog.get_logger(__name__)

_MODE = 0o660
_MOST_AT_ONCE = 8
_PEER = struct.Struct("3i")
"""Process, user and group of who connected (unix(7), SO_PEERCRED)."""

Take = Callable[[], Awaitable[bytes]]


async def serve_snapshots(
    folder: Path, take: Take, *, talk_deadline_s: float = 5.0, picture_deadline_s: float = 30.0
) -> None:
    """Answer in `folder` until cancelled, with what `take` gives.

    A socket that was left there is replaced. One that cannot be made is logged, and nothing else
    suffers from it.

    Raises:
        RestartNeeded: `take` found that only a new process gets the camera back.
    """
    path = folder / SOCKET_NAME
    desk = _Desk(take, talk_deadline_s=talk_deadline_s, picture_deadline_s=picture_deadline_s)
    async with asyncio.TaskGroup() as visits:

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            visits.create_task(desk.receive(reader, writer), name="snapshot")

        try:
            server = await asyncio.start_unix_server(accept, path, limit=len(REQUEST))
            path.chmod(_MODE)
        except OSError as error:
            log.warning("snapshot.not_served", path=str(path), cause=str(error))
            return
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            path.unlink(missing_ok=True)


class _Desk:
    """Where all requests come together."""

    def __init__(self, take: Take, *, talk_deadline_s: float, picture_deadline_s: float) -> None:
        self._take = take
        self._talk_deadline_s = talk_deadline_s
        self._picture_deadline_s = picture_deadline_s
        self._visitors = 0
        self._turn = asyncio.Lock()

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        self._visitors += 1
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError) as error:
            log.debug("snapshot.visitor_lost", cause=repr(error))
        finally:
            self._visitors -= 1
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._visitors > _MOST_AT_ONCE:
            await self._say(writer, problem_line("too many ask for a picture at once; try again"))
            return
        if not await self._is_request(reader):
            await self._say(writer, problem_line("that is no request for a snapshot"))
            return
        try:
            async with asyncio.timeout(self._picture_deadline_s), self._turn:
                picture = await self._take()
        except TimeoutError:
            problem = f"no picture came for {self._picture_deadline_s:g} s"
            await self._say(writer, problem_line(problem))
        except CameraError as error:
            await self._say(writer, problem_line(str(error)))
            if isinstance(error, RestartNeeded):
                raise
        else:
            log.info("snapshot.taken", bytes=len(picture), uid=_uid(writer))
            await self._say(writer, picture_header(len(picture)) + picture)

    async def _is_request(self, reader: asyncio.StreamReader) -> bool:
        async with asyncio.timeout(self._talk_deadline_s):
            try:
                return await reader.readline() == REQUEST
            except ValueError:
                return False  # it is longer than that

    async def _say(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Hand all of it to the kernel, in time or not at all."""
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(data)
        async with asyncio.timeout(self._talk_deadline_s):
            await writer.drain()


def _uid(writer: asyncio.StreamWriter) -> int:
    """Tell whose process asked."""
    connection: socket.socket = writer.get_extra_info("socket")
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(peer)
    return int(uid)

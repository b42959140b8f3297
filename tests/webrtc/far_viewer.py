"""An aiortc viewer as a program, to be started in another network and to be killed.

Writes its offer, reads an answer and then candidates, all as JSON lines, and writes a line for each
picture it decodes.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiortc import RTCConfiguration, RTCIceServer
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from camagent.signaling.messages import IceCandidate, IceServer
from tests.network import Namespace
from tests.support import DEADLINE_S, running
from tests.webrtc.viewers import Viewer, viewer


async def main(policy: str, *servers: str) -> None:
    named = [IceServer.model_validate_json(server) for server in servers]
    configuration = RTCConfiguration(
        iceServers=[
            RTCIceServer(
                urls=list(server.all_urls), username=server.username, credential=server.credential
            )
            for server in named
        ],
        iceTransportPolicy=RTCIceTransportPolicy(policy),
    )
    async with viewer(configuration=configuration) as one:
        print(json.dumps(await one.offer()), flush=True)  # noqa: T201
        await one.accept(json.loads(await _read_line()))
        async with running(_take_candidates(one)):
            while True:
                picture = await one.picture()
                print(json.dumps([picture.width, picture.height]), flush=True)  # noqa: T201


async def _take_candidates(one: Viewer) -> None:
    while line := await _read_line():
        fields = json.loads(line)
        await one.add(None if fields is None else IceCandidate.model_validate(fields))


async def _read_line() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


class FarViewer:
    """The program, as whoever started it deals with it."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def offer(self) -> str:
        return str(json.loads(await self._line()))

    async def accept(self, answer: str) -> None:
        self.hear_answer(answer)

    def hear_answer(self, answer: str) -> None:
        """Tell it the device's answer."""
        self._write(json.dumps(answer))

    def hear_candidate(self, candidate: IceCandidate | None) -> None:
        """Tell it a candidate of the device, or that there are no more; not before the answer."""
        self._write("null" if candidate is None else candidate.model_dump_json())

    async def picture(self) -> list[int]:
        """Wait for a picture; give its width and height."""
        return list(json.loads(await self._line()))

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.stdout.readline()


@asynccontextmanager
async def far_viewer(
    end: Namespace, *, servers: Sequence[IceServer] = (), policy: str = "all"
) -> AsyncIterator[FarViewer]:
    """Hold a viewer in that network."""
    named = [server.model_dump_json() for server in servers]
    command = end.command(sys.executable, "-m", "tests.webrtc.far_viewer", policy, *named)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield FarViewer(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

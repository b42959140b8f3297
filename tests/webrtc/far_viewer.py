"""An aiortc viewer as a program, to be started in another network and to be killed.

Writes its offer, reads an answer, both as JSON lines, then writes a line for each picture it decodes.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.network import Namespace
from tests.webrtc.viewers import viewer


async def main() -> None:
    async with viewer() as one:
        print(json.dumps(await one.offer()), flush=True)  # noqa: T201
        await one.accept(json.loads(await asyncio.to_thread(sys.stdin.readline)))
        while True:
            picture = await one.picture()
            print(json.dumps([picture.width, picture.height]), flush=True)  # noqa: T201


class FarViewer:
    """The program, as whoever started it deals with it."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def offer(self) -> str:
        return str(json.loads(await self._line()))

    async def accept(self, answer: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(answer).encode() + b"\n")

    async def picture(self) -> list[int]:
        """Wait for a picture; give its width and height."""
        return list(json.loads(await self._line()))

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        return await self.process.stdout.readline()


@asynccontextmanager
async def far_viewer(end: Namespace) -> AsyncIterator[FarViewer]:
    """Hold a viewer in that network."""
    command = end.command(sys.executable, "-m", "tests.webrtc.far_viewer")
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield FarViewer(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(main())

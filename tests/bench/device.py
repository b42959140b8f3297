"""The device of a benchmark: sessions with viewers of another process, over a real network."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from camagent.errors import CameraError
from camagent.media.frame import EncodedFrame
from camagent.media.hub import VideoHub
from camagent.processor import has_aes_instructions
from camagent.signaling.messages import FromDevice, SignalAnswer
from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.senders import NewSender
from camagent.webrtc.sending import Sender
from camagent.webrtc.session import Camera, Session, SessionLimits
from tests.bench.recording import OPTIONS, stamped
from tests.support import running, until
from tests.webrtc.viewers import straight_from


class FarSide:
    """The process with the viewers, as `ask` reaches it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        self._input = process.stdin
        self._process = process
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def ask(self, verb: str, **arguments: str) -> dict[str, Any]:
        """Send a request of `Viewers` and wait for its answer."""
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        request = {"number": number, "verb": verb, "arguments": arguments}
        self._input.write(json.dumps(request).encode() + b"\n")
        return await self._asked[number]

    async def listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            self._asked.pop(answer["number"]).set_result(answer["result"])
        for waiting in self._asked.values():
            waiting.set_exception(ConnectionError("the viewers' process has ended"))


@asynccontextmanager
async def far_side(command: Sequence[str]) -> AsyncIterator[FarSide]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    side = FarSide(process)
    try:
        async with running(side.listen()):
            yield side
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


class Stage:
    """A camera that shows what is played into its hub."""

    def __init__(self) -> None:
        self.hub = VideoHub(lambda: None)

    @contextmanager
    def watched(self) -> Iterator[None]:
        yield

    async def failed(self) -> CameraError:
        await asyncio.Event().wait()
        raise AssertionError("never fails")


class Device:
    """Opens sessions with viewers of the far side."""

    def __init__(self, far: FarSide) -> None:
        self.far = far
        self._names = map(str, itertools.count())

    @asynccontextmanager
    async def watching(self, camera: Camera, sender: Sender) -> AsyncIterator[str]:
        """Hold a session whose viewer has our answer; give the viewer's name."""
        name = next(self._names)
        answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def send(message: FromDevice) -> None:
            if isinstance(message, SignalAnswer):
                answered.set_result(message.payload.sdp.sdp)

        session = Session(
            name,
            ice_servers=(),
            options=PeerOptions(level=OPTIONS.level, prefers_gcm=has_aes_instructions()),
            limits=SessionLimits(),
            camera=camera,
            sender=sender,
            serve_frames=partial(straight_from, camera),
            send=send,
        )
        async with running(_to_its_end(session)) as task:
            session.take_offer((await self.far.ask("offer", viewer=name))["sdp"])
            await self.far.ask("accept", viewer=name, sdp=await answered)
            yield name
            session.end("measured")
            await task

    @asynccontextmanager
    async def audience(
        self, size: int, new_sender: NewSender, frames: Sequence[EncodedFrame]
    ) -> AsyncIterator[Stage]:
        """Hold so many sessions that have all shown a first picture of `frames`."""
        stage = Stage()
        async with contextlib.AsyncExitStack() as sessions:
            names = [
                await sessions.enter_async_context(self.watching(stage, new_sender()))
                for _ in range(size)
            ]
            await until(lambda: stage.hub.subscriber_count == size)
            stage.hub.publish(stamped(frames[0]))
            for name in names:
                await self.far.ask("first_idr", viewer=name)
            yield stage


async def _to_its_end(session: Session) -> None:
    with contextlib.suppress(ExceptionGroup):
        await session.run()

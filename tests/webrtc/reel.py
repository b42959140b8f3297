"""A camera that shows a recording over and over: the machine's power is the viewers'.

The recording is of the real test picture by the real encoder, and it starts anew, with its
keyframe, when the hub asks for one.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import replace

import av

from camagent.errors import CameraError
from camagent.media.drawing import TestPicture
from camagent.media.encoder import EncoderOptions, H264Encoder
from camagent.media.frame import EncodedFrame
from camagent.media.hub import VideoHub
from tests.support import running

FRAMES_PER_SECOND = 30

_LATE_S = 0.05


def options_of(width_px: int, height_px: int, *, bitrate_bps: int = 2_000_000) -> EncoderOptions:
    return EncoderOptions(
        width_px=width_px,
        height_px=height_px,
        frames_per_second=FRAMES_PER_SECOND,
        bitrate_bps=bitrate_bps,
        keyframe_interval_s=60,
    )


async def recorded(
    options: EncoderOptions,
    *,
    frames: int,
    draw: Callable[[int], av.VideoFrame] | None = None,
) -> list[EncodedFrame]:
    """Encode so many pictures; the one with index n says n in its timestamp, or is `draw(n)`."""
    draw = draw or TestPicture(width_px=options.width_px, height_px=options.height_px).draw
    loop = asyncio.get_running_loop()
    encoded: asyncio.Queue[EncodedFrame] = asyncio.Queue()

    def publish(frame: EncodedFrame) -> None:
        loop.call_soon_threadsafe(encoded.put_nowait, frame)

    encoder = H264Encoder(publish, options)
    reel = []
    with encoder.running():
        for number in range(frames):
            encoder.encode(draw(number), captured_at_us=number * 1_000_000 // FRAMES_PER_SECOND)
            reel.append(await encoded.get())
    return reel


class Reel:
    """Shows `frames`, by default at 30 per second, while somebody runs it and it is not held.

    `was_late`: this machine was too busy for that at some time, so that viewers saw a gap.
    """

    def __init__(
        self, frames: Sequence[EncodedFrame], frames_per_second: int = FRAMES_PER_SECOND
    ) -> None:
        self.hub = VideoHub(self._rewind)
        self.is_held = False
        self.was_late = False
        self._frames = frames
        self._frames_per_second = frames_per_second
        self._at = 0

    def watched(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def failed(self) -> CameraError:
        await asyncio.Event().wait()
        raise AssertionError("waits for ever")

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        started_at_s = loop.time()
        for number in itertools.count(1):
            if not self.is_held:
                frame = self._frames[self._at % len(self._frames)]
                self._at += 1
                self.hub.publish(replace(frame, pts_us=time.monotonic_ns() // 1_000))
            due_in_s = started_at_s + number / self._frames_per_second - loop.time()
            if due_in_s < -_LATE_S:
                self.was_late = True
                # As a camera, it makes nothing of the time that it missed.
                started_at_s -= due_in_s
            await asyncio.sleep(due_in_s)

    def _rewind(self) -> None:
        self._at = 0


@asynccontextmanager
async def showing(
    frames: Sequence[EncodedFrame], *, frames_per_second: int = FRAMES_PER_SECOND
) -> AsyncIterator[Reel]:
    """Hold a reel that runs."""
    reel = Reel(frames, frames_per_second)
    async with running(reel.run()):
        yield reel

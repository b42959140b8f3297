"""What is measured of the real picamera2, inside the rig: one function each, its result as JSON."""

import asyncio
import contextlib
import gc
import itertools
import json
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from scenarios import set_camera_fault, until

from camagent.media.capture import Capture
from camagent.media.capture_state import CaptureState
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import EncodedFrame
from camagent.media.picamera import PiCamera

HIGHEST_BPS = 4_000_000
TARGETS_BPS = (1_000_000, 500_000, 3_000_000, 2_000_000)
WARM_UP_FRAMES = 60
CYCLES = 200
SETTLED_AFTER_CYCLES = 10


class Taker:
    """A subscriber that notes when each frame came, on the event loop, in the pictures' own clock."""

    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []
        self.came_at_us: list[float] = []

    def take(self, frame: EncodedFrame) -> None:
        self.came_at_us.append(now_us())
        self.frames.append(frame)

    def delays_ms(self) -> list[float]:
        times = zip(self.came_at_us, self.frames, strict=True)
        return [(came_at_us - frame.pts_us) / 1e3 for came_at_us, frame in times]

    async def more(self, count: int) -> list[EncodedFrame]:
        """Wait for so many more frames."""
        start = len(self.frames)
        await until(lambda: len(self.frames) >= start + count)
        return self.frames[start:]


def now_us() -> float:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e3


@asynccontextmanager
async def captured() -> AsyncIterator[Capture]:
    """Hold a capture at 720p30 that nobody watches yet."""
    options = EncoderOptions(
        width_px=1280,
        height_px=720,
        frames_per_second=30,
        bitrate_bps=HIGHEST_BPS,
        keyframe_interval_s=60,
    )
    capture = Capture(
        PiCamera(options),
        linger_s=0.0,
        is_always_on=False,
        retry_delays=lambda: itertools.repeat(0.1),
    )
    capture.set_bitrate(TARGETS_BPS[-1])
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(capture.run())
        yield capture
        await until(lambda: capture.state is CaptureState.IDLE)
        running.cancel()


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[Capture, Taker]]:
    """Hold a capture that somebody watches, and has watched for a while."""
    taker = Taker()
    async with captured() as capture:
        with capture.watched(), capture.hub.subscribed(taker):
            await taker.more(WARM_UP_FRAMES)
            yield capture, taker


async def delay() -> Any:
    """Let one viewer watch; when is each frame there, and when had picamera2 its picture?"""
    pictures_ms: list[float] = []
    with pictures_noted(pictures_ms):
        async with watched() as (_, taker):
            await taker.more(300)
    return {
        "frames_ms": taker.delays_ms()[WARM_UP_FRAMES:],
        "pictures_ms": pictures_ms[WARM_UP_FRAMES:],
    }


@contextlib.contextmanager
def pictures_noted(delays_ms: list[float]) -> Any:
    """Note how old each picture is when picamera2 begins with it."""
    from picamera2 import Picamera2  # noqa: PLC0415 - as the agent imports it: when used

    start = Picamera2.start

    def note(request: Any) -> None:
        delays_ms.append((now_us() - request.get_metadata()["SensorTimestamp"] / 1e3) / 1e3)

    def start_noting(camera: Any, *words: Any, **more: Any) -> None:
        camera.pre_callback = note
        start(camera, *words, **more)

    Picamera2.start = start_noting
    try:
        yield
    finally:
        Picamera2.start = start


async def keyframes() -> Any:
    """Ask for keyframes at all phases between two pictures; how long does each take?"""
    took_ms = []
    async with watched() as (capture, taker):
        for n in range(40):
            await taker.more(20)
            await asyncio.sleep(n % 10 / 300)
            asked_at_us, count = now_us(), len(taker.frames)
            capture.hub.request_keyframe()
            await until(lambda count=count: any(one.is_keyframe for one in taker.frames[count:]))
            frames = zip(taker.came_at_us[count:], taker.frames[count:], strict=True)
            came_at_us = next(came_at_us for came_at_us, frame in frames if frame.is_keyframe)
            took_ms.append((came_at_us - asked_at_us) / 1e3)
    return {"took_ms": took_ms}


async def bitrate() -> Any:
    """Set one target after another; what is the rate from one second after each on?"""
    rates = []
    async with watched() as (capture, taker):
        for target_bps in TARGETS_BPS:
            capture.set_bitrate(target_bps)
            await asyncio.sleep(1)
            frames = await taker.more(60)
            bits = 8 * sum(len(frame.data) for frame in frames[1:])
            rates.append(bits * 1e6 / (frames[-1].pts_us - frames[0].pts_us))
    return {"rates": rates, "targets": TARGETS_BPS}


async def two_rungs() -> Any:
    """Let one viewer watch each rung; do both hold the camera's rate?"""
    low = Taker()
    async with watched() as (capture, main):
        with capture.low.hub.subscribed(low):
            await low.more(WARM_UP_FRAMES)
            start = len(main.frames), len(low.frames)
            await low.more(300)
            frames = main.frames[start[0] :], low.frames[start[1] :]
            delays_ms = main.delays_ms()[start[0] :], low.delays_ms()[start[1] :]
    return {
        name: {"rate": rate(frames), "largest_gap_us": max(gaps_us(frames)), "delays_ms": delays}
        for name, frames, delays in zip(("main", "low"), frames, delays_ms, strict=True)
    }


async def recovery() -> Any:
    """Let the sensor stop until that is noticed; how long does the picture stand still?"""
    took_s = []
    async with watched() as (capture, taker):
        for _ in range(5):
            await taker.more(30)
            set_camera_fault("stall")
            await until(lambda: capture.state is CaptureState.STARTING)
            set_camera_fault("")
            count = len(taker.frames)
            await taker.more(1)
            took_s.append((taker.came_at_us[count] - taker.came_at_us[count - 1]) / 1e6)
    return {"took_s": took_s}


async def cycles() -> Any:
    """Open the camera with both rungs and close it, again and again; what is left behind?"""
    left = []
    async with captured() as capture:
        for _ in range(CYCLES):
            await watch_both(capture)
            left.append([*threads_and_files(), resident_mb()])
    return {"settled": left[SETTLED_AFTER_CYCLES - 1], "last": left[-1], "all": left[9::10]}


async def watch_both(capture: Capture) -> None:
    """Watch until a few frames of each rung came and the camera is closed again."""
    main, low = Taker(), Taker()
    with capture.watched(), capture.hub.subscribed(main), capture.low.hub.subscribed(low):
        await low.more(3)
        await main.more(3)
    await until(lambda: capture.state is CaptureState.IDLE)


def threads_and_files() -> tuple[int, int]:
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def rate(frames: list[EncodedFrame]) -> float:
    return (len(frames) - 1) * 1e6 / (frames[-1].pts_us - frames[0].pts_us)


def gaps_us(frames: list[EncodedFrame]) -> list[int]:
    return [later.pts_us - earlier.pts_us for earlier, later in itertools.pairwise(frames)]


if __name__ == "__main__":
    measure: Callable[[], Any] = globals()[sys.argv[1]]
    print(json.dumps(asyncio.run(measure())))  # noqa: T201 - this is how the host hears of it

"""The device of a benchmark, in a process of its own, on one core: real sessions over a real network.

`python -m tests.bench.near_side PART COMMAND…` measures PART with the viewers that COMMAND starts,
and prints what it found as JSON.
"""

import asyncio
import contextlib
import gc
import json
import os
import random
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import structlog
from aiortc import RTCPeerConnection, RTCRtpTransceiver
from aiortc.mediastreams import VideoStreamTrack
from av import VideoFrame

from camagent.media.capture import Capture
from camagent.media.encoder import H264Encoder
from camagent.media.frame import MICROSECONDS, EncodedFrame
from camagent.media.hub import JOIN_INTERVAL_S
from camagent.media.synthetic import SyntheticSource
from camagent.signaling.backoff import backoff
from camagent.webrtc.peer import warm_up
from camagent.webrtc.sender import VideoSender
from camagent.webrtc.senders import NewSender, choose_sender
from camagent.webrtc.stock import StockSender
from tests.bench.device import Device, Stage, far_side
from tests.bench.recording import OPTIONS, pictures, play, recorded, stamped
from tests.support import running, until

ROUNDS = 5
_GROUPS = (4, 4, 8)
"""Viewers in steps, so that 4, 8 and 16 of the same ones can be served."""

_FRAMES_OF_A_MODE = 60
_PICTURES = 60
_SETTLE_S = 0.05
_CROWD, _CROWD_FRAMES = 50, 150
_JOINS = 21
_SESSIONS, _FIRST_SESSIONS = 500, 50


@dataclass
class Sample:
    """One mode for a while.

    Attributes:
        cpu_s: user and system time of this process, all threads.
        frames: how many each viewer got, on average.
        loop_ms: what the event loop spent on each.
        hand_over_ms: from the encoder's thread until the last packet of each was the kernel's.
    """

    cpu_s: float
    wall_s: float
    frames: float
    loop_ms: list[float] = field(default_factory=list)
    hand_over_ms: list[float] = field(default_factory=list)


async def _sample(frames: Sequence[EncodedFrame], stages: Sequence[Stage], count: int) -> Sample:
    """Play to the viewers of `stages`, from a thread as an encoder would."""
    loop = asyncio.get_running_loop()
    loop_ms, hand_over_ms = [], []

    def take(frame: EncodedFrame) -> None:
        begun_s = time.perf_counter()
        for stage in stages:
            stage.hub.publish(frame)
        loop_ms.append(1000 * (time.perf_counter() - begun_s))
        hand_over_ms.append(time.monotonic_ns() / 1e6 - frame.pts_us / 1e3)

    def hand_over(frame: EncodedFrame) -> None:
        loop.call_soon_threadsafe(take, stamped(frame))

    used_s, begun_s = time.process_time(), time.monotonic()
    await play(frames, hand_over, count=count)
    await asyncio.sleep(_SETTLE_S)
    used_s, took_s = time.process_time() - used_s, time.monotonic() - begun_s
    return Sample(used_s, took_s, count, loop_ms, hand_over_ms)


async def compare_senders(device: Device) -> dict[str, Any]:
    """Serve 4, 8 and 16 viewers by aiortc's sender and by ours, in turns, on connections that stay."""
    frames = await recorded(_FRAMES_OF_A_MODE)
    samples: dict[str, list[Sample]] = {}
    async with contextlib.AsyncExitStack() as sessions:
        ours, stock, native = [], [], _native()
        for size in _GROUPS:
            for stages, new in ((ours, native), (stock, StockSender)):
                one = await sessions.enter_async_context(device.audience(size, new, frames))
                stages.append(one)
        modes = {"idle": [], "ours 4": ours[:1], "stock 4": stock[:1], "ours 8": ours[:2]}
        modes |= {"ours 16": ours, "stock 16": stock}
        await device.far.ask("start_anew")
        for _ in range(ROUNDS):
            for mode, stages in modes.items():
                sample = await _sample(frames, stages, len(frames))
                samples.setdefault(mode, []).append(sample)
        counts = await device.far.ask("counts")
    return {
        "kbps": round(sum(len(frame.data) for frame in frames) * 8 * 30 / len(frames) / 1000),
        "samples": {mode: [asdict(one) for one in many] for mode, many in samples.items()},
        "gaps": sum(count["gaps"] for count in counts.values()),
        "undecryptable": sum(count["undecryptable"] for count in counts.values()),
        "packets": sum(count["packets"] for count in counts.values()),
    }


class EncodingSender(StockSender):
    """aiortc as it is meant to be used: a track of pictures, which it encodes for each viewer."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.track = _Pictures()

    def add_to(self, connection: RTCPeerConnection) -> RTCRtpTransceiver:
        return connection.addTransceiver(self.track, direction="sendonly")

    def take(self, frame: EncodedFrame) -> None:
        """Nothing: it has pictures of its own."""


class _Pictures(VideoStreamTrack):
    def __init__(self) -> None:
        super().__init__()
        self.waiting: asyncio.Queue[VideoFrame] = asyncio.Queue(maxsize=1)

    def offer(self, picture: VideoFrame) -> None:
        """Encode `picture` next, unless there is one that waits already."""
        if self.waiting.empty():
            self.waiting.put_nowait(picture)

    async def recv(self) -> VideoFrame:
        picture = await self.waiting.get()
        picture.pts, picture.time_base = time.monotonic_ns() // 1_000, MICROSECONDS
        return picture


async def compare_encoding(device: Device, *, is_noisy: bool = True) -> dict[str, Any]:
    """Serve one viewer by aiortc, which encodes for it, and by ours with its encoder, in turns."""
    drawn, frames = pictures(_PICTURES, is_noisy=is_noisy), await recorded(1)
    loop = asyncio.get_running_loop()
    encoding, samples = EncodingSender(), {}
    stage = Stage()
    async with (
        device.watching(stage, encoding) as encoding_viewer,
        device.audience(1, _native(), frames) as watched,
    ):
        encoding.track.offer(drawn[0])
        await device.far.ask("first_idr", viewer=encoding_viewer)
        encoder = H264Encoder(
            lambda frame: loop.call_soon_threadsafe(watched.hub.publish, frame), OPTIONS
        )

        def nobody(_picture: VideoFrame) -> None:
            """Take none."""

        def by_aiortc(picture: VideoFrame) -> None:
            loop.call_soon_threadsafe(encoding.track.offer, picture)

        def by_us(picture: VideoFrame) -> None:
            encoder.encode(picture, captured_at_us=time.monotonic_ns() // 1_000)

        with encoder.running():
            for _ in range(ROUNDS):
                for mode, hand_over in (("idle", nobody), ("ours", by_us), ("aiortc", by_aiortc)):
                    sample = await _sample_pictures(device, drawn, hand_over)
                    samples.setdefault(mode, []).append(asdict(sample))
    return {"samples": samples}


async def _sample_pictures(
    device: Device, drawn: Sequence[VideoFrame], hand_over: Callable[[VideoFrame], None]
) -> Sample:
    await device.far.ask("start_anew")
    used_s, begun_s = time.process_time(), time.monotonic()
    await play(drawn, hand_over, count=len(drawn))
    await asyncio.sleep(6 * _SETTLE_S)
    used_s, took_s = time.process_time() - used_s, time.monotonic() - begun_s
    counts = await device.far.ask("counts")
    return Sample(used_s, took_s, sum(count["frames"] for count in counts.values()))


async def serve_a_crowd(device: Device) -> dict[str, Any]:
    """Serve 50 viewers, and count what each of them gets."""
    frames, rounds = await recorded(_CROWD_FRAMES), []
    async with device.audience(_CROWD, _native(), frames) as stage:
        for _ in range(ROUNDS):
            await device.far.ask("start_anew")
            sample = await _sample(frames, [stage], len(frames))
            counts = await device.far.ask("counts")
            rounds.append({"sample": asdict(sample), "counts": list(counts.values())})
    return {"rounds": rounds}


@asynccontextmanager
async def _warm_camera() -> AsyncIterator[Capture]:
    capture = Capture(
        SyntheticSource(OPTIONS), linger_s=0, is_always_on=False, retry_delays=backoff
    )
    async with running(capture.run()):
        with capture.watched():
            await until(lambda: capture.hub.frames_published)
            yield capture


async def join(device: Device) -> dict[str, Any]:
    """Join a camera that runs, one viewer after the other; time the first whole IDR."""
    new, after_ms = _native(), []
    async with _warm_camera() as camera:
        await warm_up(new())
        for _ in range(_JOINS):
            async with device.watching(camera, new()) as name:
                seen = await device.far.ask("first_idr", viewer=name)
                after_ms.append(1000 * seen["after_s"])
            await device.far.ask("close", viewer=name)
            # At any phase of the camera, and not so soon that the hub spaces the keyframes.
            await asyncio.sleep(random.uniform(2, 4) * JOIN_INTERVAL_S)  # noqa: S311
    return {"first_idr_ms": after_ms}


async def come_and_go(device: Device) -> dict[str, Any]:
    """Open, stream and close 500 sessions, ended by either side in turns."""
    new, stage, footprints = _native(), Stage(), []
    frames = await recorded(8)
    for number in range(_SESSIONS + 1):
        if number in (_FIRST_SESSIONS, _SESSIONS):
            footprints.append(_footprint())
        async with device.watching(stage, new()) as name:
            await until(lambda: stage.hub.subscriber_count)
            for frame in frames:
                stage.hub.publish(stamped(frame))
            await device.far.ask("first_idr", viewer=name)
            if number % 2:
                await device.far.ask("close", viewer=name)
        if not number % 2:
            await device.far.ask("close", viewer=name)
    before, after = footprints
    return {"before": before, "after": after}


def _footprint() -> dict[str, int]:
    gc.collect()
    return {
        "resident_bytes": psutil.Process().memory_info().rss,
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "files": len(list(Path("/proc/self/fd").iterdir())),
    }


def _native() -> NewSender:
    new = choose_sender()
    assert isinstance(new(), VideoSender), "the sender to be measured"
    return new


PARTS = {
    "senders": compare_senders,
    "encoding": compare_encoding,
    "encoding a drawing": partial(compare_encoding, is_noisy=False),
    "crowd": serve_a_crowd,
    "join": join,
    "sessions": come_and_go,
}


async def _measure(part: str, command: Sequence[str]) -> dict[str, Any]:
    async with far_side(command) as far:
        return await PARTS[part](Device(far))


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    part, *command = sys.argv[1:]
    print(json.dumps(asyncio.run(_measure(part, command))))


if __name__ == "__main__":
    main()

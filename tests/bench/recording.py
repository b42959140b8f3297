"""The test picture at 720p30 and 2 Mbps: as pictures, and encoded once as the agent would."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from av import VideoFrame

from camagent.media.drawing import TestPicture
from camagent.media.encoder import EncoderOptions, H264Encoder
from camagent.media.frame import EncodedFrame
from camagent.media.picture import planes_of
from tests.support import until

T = TypeVar("T")

FRAMES_PER_S = 30
OPTIONS = EncoderOptions(
    width_px=1280,
    height_px=720,
    frames_per_second=FRAMES_PER_S,
    bitrate_bps=2_000_000,
    keyframe_interval_s=4.0,
)


_NOISE_DEVIATION = 1.0
"""Of brightness, in 256 steps: little, as from a camera in a lit room."""


def pictures(count: int, *, is_noisy: bool = True) -> list[VideoFrame]:
    """Draw so many, one after another, with the noise that a camera adds.

    Without it much less is left to encode, above all for slow presets.
    """
    drawing = TestPicture(width_px=OPTIONS.width_px, height_px=OPTIONS.height_px)
    noise = np.random.default_rng(0)
    drawn = []
    for index in range(count):
        picture = drawing.draw(index * 1_000_000 // FRAMES_PER_S)
        drawn.append(picture)
        if not is_noisy:
            continue
        plane = planes_of(picture)[0]
        grain = noise.normal(0, _NOISE_DEVIATION, plane.shape)
        plane[:] = np.clip(plane + grain, 0, 255)
    return drawn


async def recorded(count: int) -> list[EncodedFrame]:
    """Encode so many pictures, the first one as a keyframe."""
    frames: list[EncodedFrame] = []
    encoder = H264Encoder(frames.append, OPTIONS)
    with encoder.running():
        for index, picture in enumerate(pictures(count)):
            encoder.encode(picture, captured_at_us=index * 1_000_000 // FRAMES_PER_S)
            await until(lambda expected=index + 1: len(frames) == expected)
    return frames


def stamped(frame: EncodedFrame) -> EncodedFrame:
    """Give `frame` as if it were captured now."""
    return replace(frame, pts_us=time.monotonic_ns() // 1_000)


async def play(items: Sequence[T], hand_over: Callable[[T], None], *, count: int) -> None:
    """Hand over `count` of `items`, again from the start when they end, 30 a second, from a thread."""

    def run() -> None:
        begun_s = time.monotonic()
        for index in range(count):
            hand_over(items[index % len(items)])
            due_at_s = begun_s + (index + 1) / FRAMES_PER_S
            time.sleep(max(0.0, due_at_s - time.monotonic()))

    await asyncio.to_thread(run)

"""Watches /dev/video0 as viewers do, in a process that has the stand-in, and prints what came.

    python -m tests.media.usb_viewer QUESTION

QUESTION is JSON: `options` of the encoder, `passes_through`, and `steps`, one after the other:

    frames            wait for more frames
    meet TROUBLE      let the camera be unplugged, absent or busy
    problem           wait until the capture has one
    recover TROUBLE   undo it

The answer is JSON: `encoder`, `pieces` with what came in each `frames`, `problems`, `said` in logs.
"""

import asyncio
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from camagent.media.capture import Capture
from camagent.media.container import ContainerSource
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import EncodedFrame
from tests.media.streams import decode
from tests.media.usb_camera import DEVICE
from tests.support import running, until

MORE = 20


class Viewer:
    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []

    def take(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)


async def watch(question: dict[str, Any]) -> dict[str, Any]:
    """Go through the steps of `question` with one capture and one viewer, who stays."""
    source = ContainerSource(
        EncoderOptions(**question["options"], bitrate_bps=500_000, keyframe_interval_s=60),
        url=DEVICE,
        passes_through=question["passes_through"],
    )
    is_troubled = any(step.startswith("meet ") for step in question["steps"])
    capture = Capture(
        source,
        linger_s=0,
        is_always_on=False,
        # A camera that nothing is to happen to is held up by a busy machine only.
        stall_after_s=1 if is_troubled else 30,
        retry_delays=lambda: itertools.repeat(0.05),
    )
    viewer = Viewer()
    answer: dict[str, Any] = {"encoder": None, "pieces": [], "problems": []}
    async with running(capture.run()):
        with capture.watched(), capture.hub.subscribed(viewer):
            for step in question["steps"]:
                await _take(step, capture, viewer, answer)
        await until(lambda: capture.state.name in {"IDLE", "FAILED"})
    return answer


async def _take(step: str, capture: Capture, viewer: Viewer, answer: dict[str, Any]) -> None:
    word, _, trouble = step.partition(" ")
    in_trouble = Path(os.environ["USB_CAMERA"], trouble)
    match word:
        case "frames":
            await until(lambda: len(viewer.frames) >= MORE and capture.problem is None)
            frames, viewer.frames = viewer.frames, []
            assert capture._encoding is not None
            answer["encoder"] = capture._encoding.encoder
            answer["pieces"].append(_described(frames))
        case "problem":
            await until(lambda: capture.problem is not None)
            answer["problems"].append(capture.problem)
            viewer.frames = []
        case "meet":
            await asyncio.to_thread(in_trouble.touch)
        case "recover":
            await asyncio.to_thread(in_trouble.unlink)


def _described(frames: list[EncodedFrame]) -> dict[str, Any]:
    gaps_us = sorted(two.pts_us - one.pts_us for one, two in itertools.pairwise(frames))
    pictures = decode(frames) if frames[0].is_keyframe else []
    return {
        "begins_with_keyframe": frames[0].is_keyframe,
        "is_whole": len(pictures) == len(frames),
        "sizes": sorted({(picture.width, picture.height) for picture in pictures}),
        "gap_ms": gaps_us[len(gaps_us) // 2] / 1_000,
    }


if __name__ == "__main__":
    with capture_logs() as logs:
        watched = asyncio.run(watch(json.loads(sys.argv[1])))
    said = [log for log in logs if log["event"] == "container.opened"]
    print(json.dumps(watched | {"said": said}))  # noqa: T201 - what it is asked for

"""What ends a capture, or nearly does: more scenarios, for `scenarios.py` to run."""

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scenarios import Viewer, camera, set_camera_fault

from camagent.errors import CameraError, RestartNeeded
from camagent.media.capture import Capture
from camagent.media.frame import EncodedFrame

ENCODER_FAULT = Path(os.environ["RIG_FAULT"])


def unusable_frame() -> dict[str, Any]:
    """Let whoever takes the frames raise at the fifth, as nothing should; open again afterwards."""
    viewer, source = Viewer(), camera()

    def take(frame: EncodedFrame) -> None:
        viewer.take(frame)
        if len(viewer.frames) == 5:
            raise ValueError("nobody can use it")

    threads, problem, still = threading.active_count(), None, b""
    try:
        with source.opened(take) as its_stream:
            viewer.next(5)
            # Longer than the camera's buffers last: they have to come back all the same.
            time.sleep(0.5)
            still = its_stream.snapshot()
    except CameraError as error:
        problem = str(error)
    with source.opened(viewer.take):
        afterwards = len(viewer.next(10))
    return {
        "problem": problem,
        "has_still": bool(still),
        "frames_afterwards": afterwards,
        "threads_left": threading.active_count() - threads,
    }


def dead_sensor() -> dict[str, Any]:
    """Let the sensor stop for good."""
    return {"problem": problem_after(lambda: set_camera_fault("stall"))}


def dead_encoder() -> dict[str, Any]:
    """Let the chip's encoder give nothing back for good."""
    return {"problem": problem_after(lambda: ENCODER_FAULT.write_text("enc-hang"))}


def hanging_close() -> dict[str, Any]:
    """Let the sensor stop, and closing the camera not return, as with a stuck driver."""
    from picamera2 import Picamera2  # noqa: PLC0415 - as the agent imports it: when used

    close, is_over = Picamera2.close, threading.Event()

    def stop() -> None:
        Picamera2.close = lambda _camera: is_over.wait()
        set_camera_fault("stall")

    problem = problem_after(stop)
    Picamera2.close = close
    set_camera_fault("")
    is_over.set()
    return {"problem": problem}


def problem_after(fault: Callable[[], object]) -> str | None:
    """Give what ends a capture that had pictures before `fault`."""
    problem = None
    try:
        asyncio.run(stay_with(fault))
    except* RestartNeeded as errors:
        problem = str(errors.exceptions[0])
    return problem


async def stay_with(fault: Callable[[], object]) -> None:
    capture = Capture(
        camera(),
        linger_s=0.1,
        is_always_on=True,
        stall_after_s=1.0,
        open_deadline_s=3.0,
        retry_delays=lambda: itertools.repeat(0.1),
    )
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(capture.run())
        await capture.pictures.wait()
        fault()

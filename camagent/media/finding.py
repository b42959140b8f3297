"""Looks for the Pi camera without loading what it takes to use it.

picamera2 and libcamera stay in a process for good, with the list of cameras as it was then. An
agent that nobody watches has no use for either; a child that ends has used neither up.

What a camera can do depends on the mode of its sensor, so the child opens it and sets it up, and
nobody else can open it meanwhile: whoever asks has to wait for the answer before opening it.
"""

import asyncio
import json
import subprocess
import sys
from dataclasses import asdict

from camagent.errors import CameraError, CameraRefused
from camagent.media.picamera import PiCamera

_FIND_DEADLINE_S = 30.0


async def find_pi_camera(camera: PiCamera, *, may_open: bool) -> None:
    """Let a process of its own look for `camera` and, if it may, at what it can do.

    Raises:
        CameraRefused: it cannot do what is wished of it.
        CameraError: there is none, or it cannot be opened.
    """
    question = {
        "options": asdict(camera.options),
        "wishes": asdict(camera.wishes),
        "may_open": may_open,
    }
    answer = json.loads(await _ask(json.dumps(question)))
    if answer["refused"]:
        raise CameraRefused(answer["refused"])
    if answer["problem"]:
        raise CameraError(answer["problem"])


async def _ask(question: str) -> str:
    """Give the last line that the child writes: libraries write others before it."""
    try:
        asked = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "camagent.media.picamera.looking",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        # Of a machine that is short of memory, say.
        raise CameraError(f"the Pi camera cannot be looked at: {error.strerror}") from error
    try:
        async with asyncio.timeout(_FIND_DEADLINE_S):
            answer, _ = await asked.communicate(question.encode())
    except TimeoutError:
        raise CameraError(
            f"the Pi camera could not be looked at within {_FIND_DEADLINE_S:g} s"
        ) from None
    finally:
        if asked.returncode is None:
            asked.kill()
    lines = answer.decode().splitlines()
    if asked.returncode != 0 or not lines:
        raise CameraError(
            f"the Pi camera cannot be looked at: that ended with status {asked.returncode}"
        )
    return lines[-1]

"""Looks for the Pi camera without loading what it takes to use it.

picamera2 and libcamera stay in a process for good, with the list of cameras as it was then. An
agent that nobody watches has no use for either; a child that ends has used neither up.
"""

import asyncio
import subprocess
import sys

_FIND_DEADLINE_S = 30.0


async def find_pi_camera() -> str | None:
    """Ask a process of its own for `pi_camera_problem`."""
    question = (
        "from camagent.media.picamera import pi_camera_problem; print(pi_camera_problem() or '')"
    )
    asked = await asyncio.create_subprocess_exec(
        sys.executable, "-c", question, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_FIND_DEADLINE_S):
            answer, _ = await asked.communicate()
    except TimeoutError:
        return f"libcamera did not list the cameras within {_FIND_DEADLINE_S:g} s"
    finally:
        if asked.returncode is None:
            asked.kill()
    if asked.returncode != 0:
        return f"libcamera cannot list the cameras: it ended with status {asked.returncode}"
    return answer.decode().strip() or None

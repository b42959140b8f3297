"""A still of the camera, whether or not somebody watches."""

import asyncio

from camagent.errors import CameraError
from camagent.media.capture import Capture

_SETTLE_S = 1.0
"""What exposure and white balance take to find their values after the camera was opened."""

_SWITCHED_OFF = "the camera is switched off"
_OPEN_DEADLINE_S = 15.0
"""Longer than a camera may take to open and to show its first picture."""

_DEADLINE_S = 8.0


async def take_snapshot(
    capture: Capture,
    *,
    settle_s: float = _SETTLE_S,
    open_deadline_s: float = _OPEN_DEADLINE_S,
) -> bytes:
    """Give a picture as JPEG; a camera that nobody watches is opened for it, and video goes on.

    Raises:
        CameraError: the camera cannot serve, is switched off, or is not open in time.
    """
    if capture.is_barred:
        raise CameraError(_SWITCHED_OFF)
    with capture.watched():
        was_running = capture.frame_age_s is not None
        try:
            async with asyncio.timeout(open_deadline_s):
                await _until_pictures(capture)
        except TimeoutError:
            problem = capture.problem or f"the camera gave no picture for {open_deadline_s:g} s"
            raise CameraError(_SWITCHED_OFF if capture.is_barred else problem) from None
        if not was_running:
            await asyncio.sleep(settle_s)
        return await capture.still(deadline_s=_DEADLINE_S)


async def _until_pictures(capture: Capture) -> None:
    pictures = asyncio.create_task(capture.pictures.wait())
    failure = asyncio.create_task(capture.failed())
    try:
        await asyncio.wait({pictures, failure}, return_when=asyncio.FIRST_COMPLETED)
        if not pictures.done():
            raise failure.result()
    finally:
        pictures.cancel()
        failure.cancel()

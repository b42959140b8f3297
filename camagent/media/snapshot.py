"""A still of the camera, whether or not somebody watches."""

import asyncio

from camagent.errors import CameraError
from camagent.media.capture import Capture

_SETTLE_S = 1.0
"""What exposure and white balance take to find their values after the camera was opened."""

_DEADLINE_S = 8.0


async def take_snapshot(capture: Capture, *, settle_s: float = _SETTLE_S) -> bytes:
    """Give a picture as JPEG; a camera that nobody watches is opened for it, and video goes on.

    Raises:
        CameraError: the camera cannot serve, or is switched off.
    """
    if capture.is_barred:
        raise CameraError("the camera is switched off")
    with capture.watched():
        was_running = capture.frame_age_s is not None
        await _until_pictures(capture)
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

"""The camera, opened for real: which one, how its pictures are encoded, how soon the first comes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import av
from av.video.codeccontext import VideoCodecContext

from camagent.check.findings import Finding, Verdict
from camagent.check.neighbours import CAMERA, camera_holders
from camagent.errors import CameraError, CameraRefused
from camagent.media.frame import EncodedFrame, VideoSource
from camagent.media.hub import VideoHub
from camagent.media.opening import Opening
from camagent.privacy import InUseLight, KillSwitch

_NOBODY_SEEN = (
    "if the text above does not say it: check the cable, and rpicam-hello --list-cameras or "
    "v4l2-ctl --list-devices; only with sudo this command sees every program that holds a camera"
)

_REFUSED = "correct these settings; the agent does not start with them while this camera is there"


class _FirstFrame:
    """A subscriber that keeps the first frame, and when it came."""

    def __init__(self) -> None:
        self.frame: EncodedFrame | None = None
        self.at_s = 0.0

    def take(self, frame: EncodedFrame) -> None:
        if self.frame is None:
            self.frame, self.at_s = frame, time.monotonic()


async def check_camera(
    source: VideoSource,
    *,
    light: InUseLight | None = None,
    kill_switch: Path | None = None,
    deadline_s: float = 20.0,
) -> Finding:
    """Open `source`, wait for one frame, and close it again; each may take `deadline_s`.

    A camera that hangs costs a thread and the deadline, never the command.
    """
    if kill_switch is not None and _is_on(kill_switch):
        text = f"it is switched off: {kill_switch} exists, or cannot be looked at"
        return Finding(CAMERA, Verdict.SKIPPED, text, f"to try it: sudo rm {kill_switch}")
    try:
        async with _lit(light):
            return Finding(CAMERA, Verdict.OK, await _try(source, deadline_s=deadline_s))
    except CameraRefused as refused:
        return Finding(CAMERA, Verdict.FAILED, str(refused), _REFUSED)
    except CameraError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a camera's library raises anything; here it is told
        problem = f"{source.name} fails in a way that nobody foresaw: {error!r}"
    holders = camera_holders()
    fix = f"{'; '.join(holders)}: stop what should not" if holders else _NOBODY_SEEN
    return Finding(CAMERA, Verdict.FAILED, problem, fix)


def _is_on(kill_switch: Path) -> bool:
    switch = KillSwitch(kill_switch, lambda _is_on: None)
    switch.look()
    return switch.is_on


@asynccontextmanager
async def _lit(light: InUseLight | None) -> AsyncIterator[None]:
    """Let whoever stands before the camera see that it looks."""
    if light is not None:
        light.show(is_lit=True)
    try:
        yield
    finally:
        if light is not None:
            light.show(is_lit=False)


async def _try(source: VideoSource, *, deadline_s: float) -> str:
    """Describe the first frame.

    Raises:
        CameraError: there is none.
    """
    first = _FirstFrame()
    hub = VideoHub(lambda: None)
    started_at_s = time.monotonic()
    with hub.subscribed(first):
        opening = Opening(source, hub)
        try:
            encoding = await opening.opened(deadline_s=deadline_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    await opening.first_frame.wait()
        finally:
            await opening.close(deadline_s=deadline_s)
    if first.frame is None:
        raise CameraError(f"{source.name} opened, but gave no picture for {deadline_s:g} s")
    milliseconds = round((first.at_s - started_at_s) * 1000)
    size = _picture_size(first.frame)
    return (
        f"{source.name}, {size}, encoded by {encoding.encoder}, first frame after {milliseconds} ms"
    )


def _picture_size(frame: EncodedFrame) -> str:
    """Decode `frame`, as a viewer would."""
    decoder = VideoCodecContext.create("h264", "r")
    try:
        pictures = [*decoder.decode(av.Packet(frame.data)), *decoder.decode(None)]
    except av.FFmpegError as error:
        raise CameraError(f"the first frame cannot be decoded: {error}") from error
    if not pictures:
        raise CameraError("the first frame holds no picture")
    return f"{pictures[0].width}x{pictures[0].height}"

"""A picture where no agent runs: the camera is opened for it, as an agent would, and closed."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from camagent.errors import CameraError
from camagent.media.capture import Capture
from camagent.media.frame import VideoSource
from camagent.media.snapshot import take_snapshot
from camagent.privacy import InUseLight, KillSwitch
from camagent.signaling.backoff import backoff

_LONGEST_RETRY_DELAY_S = 30.0
"""Never waited for: the first failure is the end."""


async def take_alone(
    source: VideoSource,
    *,
    light: InUseLight | None,
    kill_switch_file: Path | None,
    stall_after_s: float,
) -> bytes:
    """Open `source` for one picture, and give that as JPEG once the exposure has settled.

    Raises:
        CameraError: it gives none, or is switched off.
        RestartNeeded: the camera hangs, and leaving this process may hang as well.
    """

    def show() -> None:
        if light is not None:
            light.show(is_lit=capture.is_open)

    capture = Capture(
        source,
        linger_s=0,
        is_always_on=False,
        stall_after_s=stall_after_s,
        retry_delays=partial(backoff, longest_s=_LONGEST_RETRY_DELAY_S),
        on_change=show,
    )
    try:
        return await _take(capture, kill_switch_file)
    except BaseExceptionGroup as group:
        failures, others = group.split(CameraError)
        if failures is None or others is not None:
            raise
        raise _first(failures) from None
    finally:
        if light is not None:
            light.show(is_lit=False)


async def _take(capture: Capture, kill_switch_file: Path | None) -> bytes:
    """Run the camera, and the switch that bars it, until the picture is there."""
    parts: list[asyncio.Task[object]] = []
    async with asyncio.TaskGroup() as tasks:
        if kill_switch_file is not None:
            switch = KillSwitch(kill_switch_file, _barring(capture))
            switch.look()
            parts.append(tasks.create_task(switch.run(), name="kill-switch"))
        parts.append(tasks.create_task(capture.run(), name="capture"))
        picture = await take_snapshot(capture)
        for part in parts:
            part.cancel()
    return picture


def _barring(capture: Capture) -> Callable[[bool], None]:
    def bar(is_off: bool) -> None:  # noqa: FBT001 - it is the switch's position
        capture.bar(is_barred=is_off)

    return bar


def _first(group: BaseExceptionGroup[CameraError]) -> CameraError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, CameraError), "there is nothing else in the group"
    return error

"""What a camera cannot do stops the start, or is told when the camera comes; with a fake picamera2."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from camagent.signaling.messages import WATCH_ENDED, DeviceWatchRequest
from tests.check.test_command import check
from tests.signaling.conftest import DeviceSocket, ScriptedServer
from tests.test_program import camagent, finished

WRONG = {"CAMAGENT_CAMERA__CONTRAST": "40", "CAMAGENT_CAMERA__EXPOSURE_TIME_US": "50000"}
SENTENCES = [
    "CAMAGENT_CAMERA__EXPOSURE_TIME_US=50000: the imx708 takes 1 to 33333 at 30 frames per second",
    "CAMAGENT_CAMERA__CONTRAST=40: the imx708 takes 0 to 32",
]


@pytest.fixture
def pi(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a program on a Pi with as many cameras as the file `cameras` says."""
    (tmp_path / "cameras").write_text("1")
    root = Path(__file__).parents[1]
    return {
        "FAKE_CAMERAS": str(tmp_path / "cameras"),
        "LIBCAMERA_VIRTUAL_FAULT": "",
        "RIG_PLATFORM": "",
        "PYTHONPATH": os.pathsep.join((str(root / "tests/fake_pi"), str(root))),
        "CAMAGENT_DEVICE_ID": "cam",
        "CAMAGENT_VIDEO__SOURCE": "picamera",
    }


@asynccontextmanager
async def online(pi: dict[str, str], *options: str) -> AsyncIterator[DeviceSocket]:
    """Hold the server's end of a running agent."""
    scripted = ScriptedServer()
    async with scripted.listening():
        settings = pi | WRONG | {"CAMAGENT_SERVER_URL": scripted.url}
        async with camagent(*options, **settings):
            device = await scripted.accepted()
            await device.welcome([WATCH_ENDED])
            yield device


async def camera_problem(device: DeviceSocket) -> str:
    """Wait for a report of a camera with an error; give the reason."""
    while (report := (await device.receive("device_presence"))["payload"])["camera"] != "error":
        pass
    return str(report["camera_problem"])


async def test_a_camera_that_cannot_do_it_stops_the_start(pi: dict[str, str]) -> None:
    """One line for each wish, by its name and with what would be right; and status 78."""
    scripted = ScriptedServer()
    async with scripted.listening():
        settings = pi | WRONG | {"CAMAGENT_SERVER_URL": scripted.url}
        status, _, errors = await finished("--log-level=error", **settings)

    assert status == 78
    assert errors.splitlines() == [f"camagent: {sentence}" for sentence in SENTENCES]


async def test_a_camera_that_comes_later_says_then_what_it_cannot_do(
    pi: dict[str, str], tmp_path: Path
) -> None:
    """The agent is online without one, and stays so; viewer and server get the same sentences."""
    (tmp_path / "cameras").write_text("0")
    async with online(pi) as device:
        assert "libcamera finds no Pi camera" in await camera_problem(device)
        (tmp_path / "cameras").write_text("1")
        request = DeviceWatchRequest.Payload(session_id="s", user_id="u")
        await device.send(DeviceWatchRequest(payload=request))
        ended: dict[str, Any] = (await device.receive("watch_ended"))["payload"]
        while (problem := await camera_problem(device)).startswith("libcamera"):
            pass

    assert ended["message"] == problem == "; ".join(SENTENCES)


async def test_a_camera_that_is_switched_off_is_not_looked_at(
    pi: dict[str, str], tmp_path: Path
) -> None:
    """Not even at the start; what it cannot do is told once it may be opened."""
    switch = tmp_path / "camera-off"
    switch.touch()
    async with online(pi, f"--kill-switch-file={switch}", "--video.always-on") as device:
        assert (await device.receive("device_presence"))["payload"]["camera"] == "off"
        switch.unlink()
        assert await camera_problem(device) == "; ".join(SENTENCES)


async def test_a_check_tells_it_too(pi: dict[str, str]) -> None:
    """The camera fails with the same sentences, and no other program is blamed."""
    settings = pi | WRONG | {"CAMAGENT_SERVER_URL": "ws://127.0.0.1:1"}
    status, output, _ = await check(**settings)

    assert status == 1
    line = next(line for line in output.splitlines() if line.startswith("failed   camera "))
    assert line.endswith("; ".join(SENTENCES))
    fix = output[output.index(line) + len(line) :].splitlines()[1]
    assert "correct these settings" in fix

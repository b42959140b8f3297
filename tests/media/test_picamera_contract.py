"""The claims about the Pi camera, with the fake picamera2, and those that only it can be told."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.picamera_contract import PiCameraContract

_TESTS = Path(__file__).parents[1]
_DEADLINE_S = 90


@dataclass(frozen=True)
class FakeWorld:
    """A folder for what is told to the fake, and what it tells."""

    folder: Path

    def run(self, scenario: str, *, platform: str = "vc4", encoder_fault: str = "") -> Any:
        """Run a function of `rig/scenarios.py` with the fake picamera2; give what it returned."""
        (self.folder / "encoder-fault").write_text(encoder_fault)
        (self.folder / "camera-fault").write_text("")
        (self.folder / "cameras").write_text("1")
        done = subprocess.run(
            [sys.executable, "-B", str(_TESTS / "rig/scenarios.py"), scenario],
            env=os.environ
            | {
                "FAKE_CAMERAS": str(self.folder / "cameras"),
                "RIG_PLATFORM": "pisp" if platform == "pisp" else "",
                "RIG_FAULT": str(self.folder / "encoder-fault"),
                "RIG_VIDEO11_LOG": str(self.folder / "video11.log"),
                "LIBCAMERA_VIRTUAL_FAULT": str(self.folder / "camera-fault"),
                "LIBCAMERA_VIRTUAL_NOISE": "40",
                "PYTHONPATH": os.pathsep.join((str(_TESTS / "fake_pi"), str(_TESTS.parent))),
            },
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def encoder_controls(self) -> str:
        """Give what was set on the fake chip's encoder, one line each."""
        return (self.folder / "video11.log").read_text()


CHECK = """
import json, os, sys
from camagent.errors import CameraError
from camagent.media.encoder import EncoderOptions
from camagent.media.picamera import CameraWishes, PiCamera
options = EncoderOptions(
    width_px=1280, height_px=720, frames_per_second=30, bitrate_bps=2_000_000, keyframe_interval_s=10
)
camera = PiCamera(options, CameraWishes(**json.loads(sys.argv[1])))
try:
    camera.check()
    problem = None
except CameraError as error:
    problem = str(error)
from picamera2 import Picamera2
with Picamera2(0) if not problem else open(os.devnull) as opened:
    modes = [] if problem else [mode["size"] for mode in opened.sensor_modes]
print(json.dumps([problem, camera.name, modes]))
"""


class TestPiCamera(PiCameraContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> FakeWorld:
        return FakeWorld(tmp_path)

    def test_a_camera_that_came_later_needs_a_new_process(self, world: FakeWorld) -> None:
        """Libcamera looks once in a process; another one that sees it is reason to end this."""
        nothing, again, now = world.run("late")["problems"]
        assert nothing.startswith("CameraError: libcamera finds no Pi camera")
        assert again == nothing
        assert now == "RestartNeeded: a Pi camera was connected since this process looked for one"

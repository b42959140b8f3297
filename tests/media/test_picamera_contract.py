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
        script = str(_TESTS / "rig/scenarios.py")
        return self.python(script, scenario, platform=platform, encoder_fault=encoder_fault)

    def python(
        self, *words: str, platform: str = "vc4", encoder_fault: str = "", cameras: int = 1
    ) -> Any:
        """Run Python with the fake picamera2; give the last line it prints, from JSON."""
        (self.folder / "encoder-fault").write_text(encoder_fault)
        (self.folder / "camera-fault").write_text("")
        (self.folder / "cameras").write_text(str(cameras))
        done = subprocess.run(
            [sys.executable, "-B", *words],
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

    def check(self, *, cameras: int = 1, platform: str = "vc4", **wishes: object) -> Any:
        """Check a camera; give its problem, its name, and the modes that its sensor has then."""
        words = ("-c", CHECK, json.dumps(wishes))
        return self.python(*words, cameras=cameras, platform=platform)

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

    def test_the_sensors_hdr_is_set_before_it_is_opened(self, world: FakeWorld) -> None:
        """It changes which modes there are, so that these tell; only an imx708 has it."""
        problem, name, modes = world.check(hdr="sensor")
        assert (problem, name, modes) == (None, "picamera imx708", [[2304, 1296]])
        assert len(world.check(hdr="off")[2]) == 3
        problem, name, _ = world.check(hdr="sensor", cameras=2, id="1")
        assert name == "picamera imx219"
        assert problem == "hdr=sensor: the imx219 on this Pi takes off"

    def test_the_isps_hdr_is_a_pi_5s(self, world: FakeWorld) -> None:
        """Each Pi advertises it, and one of them does it."""
        assert world.check(hdr="night", platform="pisp")[0] is None
        assert "takes off, sensor" in world.check(hdr="night", platform="vc4")[0]

    def test_a_camera_is_named_by_number_or_id(self, world: FakeWorld) -> None:
        """Both are those of rpicam-hello; one that is not there is told with those that are."""
        identifier = "/base/soc/i2c0mux/i2c@0/imx219@10"
        assert world.check(cameras=2, id="1")[1] == "picamera imx219"
        assert world.check(cameras=2, id=identifier)[1] == "picamera imx219"
        (problem, _, _) = world.check(cameras=1, id=identifier)
        assert problem.startswith(f"there is no Pi camera {identifier}: libcamera finds 0 (/base")

    def test_what_one_camera_lacks_is_told_with_what_it_has(self, world: FakeWorld) -> None:
        """One sentence for all that is missing, whatever is right or wrong besides."""
        wishes = {"autofocus": "continuous", "focus_range": "macro", "brightness": 0.5}
        assert world.check(cameras=1, **wishes)[0] is None
        problem = world.check(cameras=2, id="1", **wishes)[0]
        assert problem == (
            "autofocus=continuous, focus_range=macro: the imx219 has no such control; it has "
            "analogue_gain, blue_gain, brightness, contrast, exposure_time_us, exposure_value, "
            "flicker, metering, noise_reduction, red_gain, saturation, sharpness, white_balance, "
            "zoom"
        )

    def test_a_tuning_file_is_there_before_libcamera_looks(
        self, world: FakeWorld, tmp_path: Path
    ) -> None:
        """It reads it when it first looks for cameras; with one that does not fit it finds none."""
        tuning = tmp_path / "tuning.json"
        tuning.write_text("{}")
        assert world.check(tuning_file=str(tuning))[0] is None
        tuning.write_text("no tuning")
        problem = world.check(tuning_file=str(tuning))[0]
        assert problem.startswith("libcamera finds no Pi camera")
        assert problem.endswith(f"or {tuning} is no tuning file for it")

"""The claims about picamera2, of the fake one, and what the fake alone can be told."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.picamera2_contract import Picamera2Contract

_TESTS = Path(__file__).parents[1]
_DEADLINE_S = 60

COUNT_CAMERAS = """
import json, os, pathlib
from picamera2 import Picamera2
counts = [len(Picamera2.global_camera_info())]
pathlib.Path(os.environ["FAKE_CAMERAS"]).write_text("2")
counts.append(len(Picamera2.global_camera_info()))
Picamera2._cm.reset()
models = [camera["Model"] for camera in Picamera2.global_camera_info()]
with Picamera2(models.index("imx219")) as camera:
    has_focus = "AfMode" in camera.camera_controls
print(json.dumps([counts, sorted(models), has_focus]))
"""
NO_CAMERA = """
import json
from picamera2 import Picamera2
try:
    Picamera2()
except RuntimeError as error:
    print(json.dumps(str(error)))
"""


@dataclass(frozen=True)
class FakeWorld:
    folder: Path

    def run(self, behaviour: str, *, encoder_fault: str = "") -> Any:
        script = str(_TESTS / "picamera2_behaviours.py")
        return self.python(script, behaviour, encoder_fault=encoder_fault)

    def python(self, *words: str, encoder_fault: str = "", cameras: str = "1") -> Any:
        """Run Python with the fake picamera2; give the last line it prints, from JSON."""
        (self.folder / "encoder-fault").write_text(encoder_fault)
        (self.folder / "camera-fault").write_text("")
        environment = os.environ | {
            "FAKE_CAMERAS": cameras,
            "RIG_PLATFORM": "",
            "RIG_FAULT": str(self.folder / "encoder-fault"),
            "RIG_VIDEO11_LOG": str(self.folder / "video11.log"),
            "LIBCAMERA_VIRTUAL_FAULT": str(self.folder / "camera-fault"),
            "LIBCAMERA_VIRTUAL_NOISE": "40",
            "PYTHONPATH": os.pathsep.join((str(_TESTS / "fake_pi"), str(_TESTS.parent))),
        }
        answer = subprocess.run(
            [sys.executable, "-B", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return json.loads(answer.stdout.splitlines()[-1])


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    return FakeWorld(tmp_path)


class TestFakePicamera2(Picamera2Contract):
    """The real one is held to these as well."""


def test_without_a_camera_nothing_opens(world: FakeWorld) -> None:
    """The rig always has one, so that only the fake can show this."""
    assert world.python("-c", NO_CAMERA, cameras="0").startswith("No camera number 0 found")


def test_a_camera_that_is_plugged_in_is_seen_after_a_reset(world: FakeWorld) -> None:
    """It is looked for once; the second camera has no autofocus."""
    (world.folder / "cameras").write_text("0")
    seen = world.python("-c", COUNT_CAMERAS, cameras=str(world.folder / "cameras"))
    assert seen == [[0, 0], ["imx219", "imx708"], False]

"""What is said where picamera2 cannot be used; the rest needs the rig (tests/rig)."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from camagent.errors import CameraError
from camagent.media.encoder import EncoderOptions
from camagent.media.picamera import PiCamera, pi_camera_problem

NO_CAMERAS = """
class Picamera2:
    global_camera_info = staticmethod(list)
"""
ONE_CAMERA = """
class Picamera2:
    global_camera_info = staticmethod(lambda: [{"Model": "imx708", "Num": 0}])

    def __init__(self, number, tuning):
        try:
            raise OSError(16, "Device or resource busy")
        except OSError as error:
            raise RuntimeError("Camera __init__ sequence did not complete.") from error
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a file that is imported as picamera2, whatever this machine has."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    yield tmp_path / "picamera2.py"
    sys.modules.pop("picamera2", None)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import libcamera_of_another_name", "libcamera_of_another_name is not installed: "),
        ("raise ValueError('numpy.dtype size changed')", "cannot be imported: ValueError('numpy"),
        (NO_CAMERAS, "libcamera finds no Pi camera: check its cable"),
    ],
)
def test_each_problem_has_its_sentence(package: Path, code: str, problem: str) -> None:
    """What is missing, what does not fit and what is not connected are told apart."""
    package.write_text(code)
    assert problem in str(pi_camera_problem())


def test_a_missing_package_comes_with_its_cure(package: Path) -> None:
    """The sentence names the Debian package, and the option that lets Python see it."""
    package.write_text("import libcamera_of_another_name")
    problem = str(pi_camera_problem())
    assert "sudo apt install python3-picamera2" in problem
    assert "--system-site-packages" in problem


def test_a_connected_camera_is_no_problem(package: Path) -> None:
    """There is nothing to say when a camera is there."""
    package.write_text(ONE_CAMERA)
    assert pi_camera_problem() is None


def test_what_picamera2_hides_is_told(package: Path) -> None:
    """An error names the cause that picamera2 wrapped, and the camera has its model's name."""
    package.write_text(ONE_CAMERA)
    camera = PiCamera(
        EncoderOptions(
            width_px=1280,
            height_px=720,
            frames_per_second=30,
            bitrate_bps=2_000_000,
            keyframe_interval_s=10,
        ),
    )
    assert camera.name == "picamera 0"
    with (
        pytest.raises(CameraError, match=r"does another program use it\?: .*resource busy"),
        camera.opened(lambda _frame: None),
    ):
        pass
    assert camera.name == "picamera imx708"

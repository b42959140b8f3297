"""What becomes of a USB camera: the best of its formats, and viewers who outlast its cable."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from tests.media.footage import Footage, Profile
from tests.media.usb_camera import Format, UsbCamera, run_with_camera, usb_camera

FOOTAGE = Footage(width_px=320, height_px=180, seconds=1)
ALL: Collection[Format] = ("mjpeg", "yuyv", "h264")
ITSELF = "the camera itself"
JPEG, YUYV = "MJPEG 320x180 at 30", "yuyv422 320x180 at 30"
BASELINE, HIGH = "H.264 (Constrained Baseline) 320x180 at 30", "H.264 (High) 320x180 at 30"

WATCH = "import runpy; runpy.run_module('tests.media.usb_viewer', run_name='__main__')"


def watched(
    camera: UsbCamera,
    *steps: str,
    size: tuple[int, int] = (320, 180),
    rate: int = 30,
    passes_through: bool = True,
) -> dict[str, Any]:
    options = {"width_px": size[0], "height_px": size[1], "frames_per_second": rate}
    question = {"options": options, "passes_through": passes_through, "steps": steps}
    done = run_with_camera(camera, WATCH, json.dumps(question), deadline_s=60)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def camera(usb_camera_library: Path, tmp_path_factory: pytest.TempPathFactory) -> UsbCamera:
    return usb_camera(usb_camera_library, tmp_path_factory.mktemp("usb") / "camera", FOOTAGE)


@pytest.mark.parametrize(
    ("size", "rate", "passes_through", "encoder"),
    [
        pytest.param((320, 180), 30, True, ITSELF, id="fits"),
        pytest.param((320, 180), 60, True, ITSELF, id="slower"),
        pytest.param((160, 120), 30, True, "libx264", id="other-size"),
        pytest.param((320, 180), 15, True, "libx264", id="faster"),
        pytest.param((320, 180), 30, False, "libx264", id="transcode"),
    ],
)
def test_h264_is_handed_on_where_it_fits(
    camera: UsbCamera,
    size: tuple[int, int],
    rate: int,
    passes_through: bool,
    encoder: str,
) -> None:
    """Otherwise JPEGs are encoded anew: viewers get the size that was asked for, and no more pictures."""
    answer = watched(camera, "frames", size=size, rate=rate, passes_through=passes_through)

    assert answer["encoder"] == encoder
    (said,) = answer["said"]
    assert said["gives"] == (BASELINE if encoder == ITSELF else JPEG)
    (piece,) = answer["pieces"]
    assert piece["begins_with_keyframe"]
    assert piece["is_whole"]
    assert piece["sizes"] == [list(size)]
    assert piece["gap_ms"] == pytest.approx(1_000 / min(rate, 30), rel=0.3)
    if encoder == ITSELF:
        assert "no keyframe can be asked for" in said["note"]
    else:
        assert said["note"] == f"fitted into {size[0]}x{size[1]} at {rate} and encoded by libx264"


@pytest.mark.parametrize(
    ("formats_and_profile", "size", "gives"),
    [
        ((ALL, "high"), (320, 180), JPEG),
        ((["yuyv", "h264"], "main"), (320, 180), YUYV),
        ((["yuyv"], "baseline"), (160, 90), YUYV),
        ((["h264"], "high"), (160, 90), HIGH),
        ((["h264"], "baseline"), (160, 90), BASELINE),
    ],
)
def test_other_formats_are_encoded_anew(
    usb_camera_library: Path,
    tmp_path: Path,
    formats_and_profile: tuple[Collection[Format], Profile],
    size: tuple[int, int],
    gives: str,
) -> None:
    """JPEGs before raw pictures, and H.264 that does not fit only if there is nothing else."""
    formats, profile = formats_and_profile
    camera = usb_camera(
        usb_camera_library, tmp_path / "camera", FOOTAGE, formats=formats, h264_profile=profile
    )
    answer = watched(camera, "frames", size=size)

    assert answer["encoder"] == "libx264"
    assert [said["gives"] for said in answer["said"]] == [gives]
    (piece,) = answer["pieces"]
    assert piece["is_whole"]
    assert piece["sizes"] == [list(size)]


@pytest.mark.parametrize("passes_through", [True, False])
def test_viewers_outlast_an_unplugged_camera(
    camera: UsbCamera,
    passes_through: bool,
) -> None:
    """Nobody is sent away; plugged in again, it goes on with a keyframe, and says nothing new."""
    steps = ("frames", "meet unplugged", "problem", "recover unplugged", "frames")
    answer = watched(camera, *steps, passes_through=passes_through)

    assert [piece["begins_with_keyframe"] for piece in answer["pieces"]] == [True, True]
    assert all(piece["is_whole"] for piece in answer["pieces"])
    (problem,) = answer["problems"]
    assert problem.startswith(
        ("reading /dev/video0 failed: No such device", "/dev/video0 cannot be opened: No such file")
    )
    assert len(answer["said"]) == 1


@pytest.mark.parametrize(
    ("trouble", "problem"),
    [("absent", "No such file or directory"), ("busy", "Device or resource busy")],
)
def test_a_camera_that_is_not_to_be_had_is_tried_again(
    camera: UsbCamera, trouble: str, problem: str
) -> None:
    """It is told what is wrong, and once it is not, the picture comes by itself."""
    steps = (f"meet {trouble}", "problem", f"recover {trouble}", "frames")
    answer = watched(camera, *steps)

    assert problem in answer["problems"][0]
    assert answer["pieces"][0]["begins_with_keyframe"]

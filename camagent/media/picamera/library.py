"""picamera2 and libcamera: imported when used, and what keeps them from it in a sentence."""

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from camagent.errors import CameraError

_LOOK_DEADLINE_S = 8.0
"""Less than opening a camera may take."""

_HOW_TO_INSTALL = (
    "sudo apt install python3-picamera2 --no-install-recommends, then create the virtual "
    "environment with the system's own python3 -m venv --system-site-packages"
)


def picamera2_problem() -> str | None:
    """Say in one sentence what keeps picamera2 from being imported, which is not tried; or None."""
    if importlib.util.find_spec("picamera2") is None:
        return f"picamera2 is not installed: {_missing_packages()}"
    return None


def pi_camera_problem(*, tuning_file: str | None = None) -> str | None:
    """Say in one sentence what keeps the Pi camera from being used; None if nothing does.

    Loads picamera2 and libcamera for good, and libcamera looks for cameras once in a process:
    `finding.find_pi_camera` asks without either.
    """
    tune(tuning_file)
    try:
        cameras = list_cameras(import_picamera2())
    except CameraError as error:
        return str(error)
    return None if cameras else no_camera("0", [])


def import_picamera2() -> Any:
    """Import it, or raise a CameraError that says what is missing."""
    try:
        return importlib.import_module("picamera2")
    except ModuleNotFoundError as error:
        raise CameraError(f"{error.name} is not installed: {_missing_packages()}") from error
    except Exception as error:
        # A library that does not match, say, which shows as any kind of error.
        raise CameraError(f"picamera2 is installed but cannot be imported: {error!r}") from error


def list_cameras(picamera2: Any) -> list[dict[str, Any]]:
    """Give what libcamera knows of each camera, in the order of their numbers."""
    with explained("libcamera cannot list the cameras"):
        cameras: list[dict[str, Any]] = picamera2.Picamera2.global_camera_info()
    return cameras


def tune(tuning_file: str | None) -> None:
    """Name the tuning file where libcamera looks for it, when it first looks for cameras.

    picamera2 names it as well, and not before the cameras have been listed.
    """
    if tuning_file is not None:
        os.environ["LIBCAMERA_RPI_TUNING_FILE"] = tuning_file


def number_of(identifier: str, cameras: list[dict[str, Any]]) -> int | None:
    """Find a camera by its number, counted from 0, or its id; give the number."""
    for number, camera in enumerate(cameras):
        if identifier in {str(number), camera.get("Id")}:
            return number
    return None


def sees_camera(identifier: str) -> bool:
    """Tell whether libcamera finds this camera; it looks once in a process."""
    return number_of(identifier, list_cameras(import_picamera2())) is not None


def sees_camera_elsewhere(identifier: str) -> bool:
    """Let a process of its own tell; no, if it cannot."""
    question = (
        "import sys; from camagent.media.picamera import library; "
        "print(library.sees_camera(sys.argv[1]))"
    )
    try:
        asked = subprocess.run(  # noqa: S603 - our own Python, our own words
            [sys.executable, "-c", question, identifier],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_LOOK_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.stdout.split()[-1:] == [b"True"]


def _missing_packages() -> str:
    settings = Path(sys.prefix, "pyvenv.cfg")
    if settings.exists() and "include-system-site-packages = true" not in settings.read_text():
        return f"{sys.prefix} does not see the system's packages; {_HOW_TO_INSTALL}"
    return _HOW_TO_INSTALL


def no_camera(identifier: str, cameras: list[dict[str, Any]]) -> str:
    """Say that this camera is not among `cameras`, and which are."""
    if cameras:
        found = [f"{number} ({camera.get('Id')})" for number, camera in enumerate(cameras)]
        return f"there is no Pi camera {identifier}: libcamera finds {', '.join(found)}"
    return (
        "libcamera finds no Pi camera: check its cable and rpicam-hello --list-cameras, and that "
        "this user is in the group video"
    )


@contextmanager
def explained(sentence: str) -> Iterator[None]:
    """Turn what picamera2 raises into a CameraError: `sentence`, and what picamera2 says."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise CameraError(f"{sentence}: {cause}") from error

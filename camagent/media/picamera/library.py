"""picamera2 and libcamera: imported when used, and what keeps them from it in a sentence."""

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from camagent.errors import CameraError

_COUNT_DEADLINE_S = 8.0
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


def pi_camera_problem() -> str | None:
    """Say in one sentence what keeps the Pi camera from being used; None if nothing does.

    Loads picamera2 and libcamera for good, and libcamera looks for cameras once in a process:
    `finding.find_pi_camera` asks without either.
    """
    try:
        cameras = list_cameras(import_picamera2())
    except CameraError as error:
        return str(error)
    return None if cameras else no_camera(0, 0)


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


def count_cameras() -> int:
    """Count the cameras that libcamera finds, which it looks for once in a process."""
    return len(list_cameras(import_picamera2()))


def count_cameras_elsewhere() -> int:
    """Let a process of its own count them; 0 if it cannot."""
    question = "from camagent.media.picamera import library; print(library.count_cameras())"
    try:
        asked = subprocess.run(  # noqa: S603 - our own Python, our own words
            [sys.executable, "-c", question],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_COUNT_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    answer = asked.stdout.split()
    return int(answer[-1]) if asked.returncode == 0 and answer else 0


def _missing_packages() -> str:
    settings = Path(sys.prefix, "pyvenv.cfg")
    if settings.exists() and "include-system-site-packages = true" not in settings.read_text():
        return f"{sys.prefix} does not see the system's packages; {_HOW_TO_INSTALL}"
    return _HOW_TO_INSTALL


def no_camera(number: int, count: int) -> str:
    """Say that camera `number` is not among the `count` that there are."""
    if count:
        return f"there is no Pi camera {number}: libcamera finds {count}, counted from 0"
    return (
        "libcamera finds no Pi camera: check its cable and rpicam-hello --list-cameras, and that "
        "this user is in the group video"
    )


@contextmanager
def explained(sentence: str, *, hint: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn what picamera2 raises into a CameraError: `sentence`, what picamera2 says, a `hint`."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise CameraError(f"{sentence}: {cause}{hint()}") from error

"""A USB camera for processes that tests start: usb_camera.c, preloaded, with frames to show."""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.media.footage import Footage, Profile, self_contained, write_frames
from tests.support import DEADLINE_S

DEVICE = "/dev/video0"
ROOT = Path(__file__).parents[2]

Format = Literal["mjpeg", "yuyv", "h264"]
Trouble = Literal["unplugged", "absent", "busy"]


def build_library(compiler: str, folder: Path) -> Path:
    """Compile the stand-in into `folder`."""
    library = folder / "usb_camera.so"
    source = Path(__file__).with_suffix(".c")
    switches = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Wno-missing-field-initializers"]
    subprocess.run(
        [compiler, *switches, "-Werror", "-fPIC", "-shared", "-o", library, source],
        check=True,
    )
    return library


@dataclass(frozen=True)
class UsbCamera:
    """One camera: what its processes have to find in their environment, and what befalls it."""

    folder: Path
    library: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables that show the camera to a process; its children see it too."""
        return {"LD_PRELOAD": str(self.library), "USB_CAMERA": str(self.folder)}

    def meet(self, trouble: Trouble) -> None:
        """Let it be unplugged, absent or busy from now on."""
        (self.folder / trouble).touch()

    def recover(self, trouble: Trouble) -> None:
        """Undo that."""
        (self.folder / trouble).unlink()

    @contextmanager
    def troubled(self, trouble: Trouble) -> Iterator[None]:
        """Have the trouble while the block runs."""
        self.meet(trouble)
        try:
            yield
        finally:
            self.recover(trouble)


def usb_camera(
    library: Path,
    folder: Path,
    footage: Footage,
    *,
    formats: Collection[Format] = ("mjpeg", "yuyv", "h264"),
    h264_profile: Profile = "baseline",
) -> UsbCamera:
    """Lay out in `folder`, which is made, a camera that has these formats, this size and rate."""
    folder.mkdir()
    (folder / "mode").write_text(
        f"{footage.width_px} {footage.height_px} {footage.frames_per_second}\n"
    )
    if "mjpeg" in formats:
        write_frames(folder / "mjpeg", footage.mjpeg())
    if "yuyv" in formats:
        write_frames(folder / "yuyv", footage.yuyv())
    if "h264" in formats:
        write_frames(folder / "h264", self_contained(*footage.h264(profile=h264_profile)))
    return UsbCamera(folder, library)


def run_with_camera(
    camera: UsbCamera, code: str, *arguments: str, deadline_s: float = DEADLINE_S
) -> subprocess.CompletedProcess[str]:
    """Run Python `code` to its end in a process that has the camera; give what it wrote.

    The code finds `arguments` in `sys.argv[1:]`. A process that fails is the test's to judge.
    """
    environment = os.environ | camera.environment | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        check=False,
        env=environment,
        text=True,
        timeout=deadline_s,
    )

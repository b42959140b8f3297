"""A libcamera made of numpy, with the names that camagent and the fake picamera2 use."""

from dataclasses import dataclass

from libcamera import controls
from libcamera.manager import CameraManager

__all__ = ["CameraManager", "Transform", "controls"]


@dataclass(frozen=True)
class Transform:
    """How the picture is turned."""

    hflip: int = 0
    vflip: int = 0
    transpose: int = 0

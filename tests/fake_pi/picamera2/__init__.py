"""A picamera2 without a Pi, that shares the real one's structure and so its traps."""

from concurrent.futures import CancelledError, TimeoutError  # noqa: A004 - picamera2 gives this name

from picamera2.camera import Picamera2
from picamera2.platform import Platform, get_platform
from picamera2.request import CompletedRequest, MappedArray

__all__ = [
    "CancelledError",
    "CompletedRequest",
    "MappedArray",
    "Picamera2",
    "Platform",
    "TimeoutError",
    "get_platform",
]

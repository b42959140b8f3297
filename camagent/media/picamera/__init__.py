"""The Raspberry Pi's camera: the only package that imports picamera2 or libcamera, and only when used.

A Pi with an H.264 encoder in its chip (up to the Pi 4 and the Zero 2) encodes there; a Pi 5 has
none, so its pictures go to libx264. picamera2 calls back on threads of its own, which an exception
would end, and closing the camera would then never return: nothing here raises into them.
"""

from camagent.media.picamera.camera import PiCamera
from camagent.media.picamera.library import pi_camera_problem, picamera2_problem
from camagent.media.picamera.wishes import CameraWishes

__all__ = ["CameraWishes", "PiCamera", "pi_camera_problem", "picamera2_problem"]

"""The few names of videodev2 that camagent uses, and an ioctl that reaches the fake's devices."""

import ctypes
import fcntl
from typing import Any

V4L2_CID_MPEG_VIDEO_BITRATE = 0x9909CF
V4L2_CID_MPEG_VIDEO_H264_I_PERIOD = 0x990A66
V4L2_CID_MPEG_VIDEO_H264_PROFILE = 0x990A6B
V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER = 0x9909E2
V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME = 0x9909E5
V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE = 1
VIDIOC_S_CTRL = 0xC008561C


class v4l2_control(ctypes.Structure):  # noqa: N801 - the kernel's name
    _fields_ = (("id", ctypes.c_uint32), ("value", ctypes.c_int32))


class Device:
    """An open device that answers ioctl without a kernel."""

    closed = False

    def set_control(self, identifier: int, value: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


_ioctl = fcntl.ioctl


def _device_ioctl(device: Any, request: int, *arguments: Any) -> Any:
    if not isinstance(device, Device):
        return _ioctl(device, request, *arguments)
    if device.closed:
        raise ValueError("I/O operation on closed file")
    if request != VIDIOC_S_CTRL:
        raise OSError(25, "Inappropriate ioctl for device")
    device.set_control(arguments[0].id, arguments[0].value)
    return 0


# Callers say fcntl.ioctl(encoder.vd, ...): the only place where the fake can listen.
fcntl.ioctl = _device_ioctl

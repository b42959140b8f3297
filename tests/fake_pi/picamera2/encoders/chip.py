"""The chip's H.264 encoder, /dev/video11: libx264, told by V4L2 controls, which it logs."""

import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import videodev2 as v4l2
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from libcamera.sensor import word_in

_SEI = 6
_IDR = 5


class Chip(v4l2.Device):
    """One open encoder, for pictures of one size."""

    def __init__(self, width: int, height: int, framerate: float) -> None:
        if word_in("RIG_FAULT") == "enc-absent":
            raise FileNotFoundError(2, "No such file or directory", "/dev/video11")
        self._size, self._framerate = (width, height), framerate
        self._lock = threading.Lock()
        self._codec: VideoCodecContext | None = None
        self._opened_bps = 0
        self._bitrate_bps = 10_000_000
        self._period = 60
        self._keyframes_due = 0
        self._count = 0

    def stream_on(self) -> None:
        if word_in("RIG_FAULT") == "enc-busy":
            raise OSError(16, "Device or resource busy")

    def set_control(self, identifier: int, value: int) -> None:
        with self._lock:
            if identifier == v4l2.V4L2_CID_MPEG_VIDEO_BITRATE:
                self._bitrate_bps = value
            elif identifier == v4l2.V4L2_CID_MPEG_VIDEO_H264_I_PERIOD:
                self._period = value
            elif identifier == v4l2.V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME:
                # Counted: several may come while pictures wait here.
                self._keyframes_due += 1
        if log := os.environ.get("RIG_VIDEO11_LOG"):
            with Path(log).open("a") as lines:
                lines.write(f"ctrl {identifier:#x} = {value}\n")

    def encode(self, frame: av.VideoFrame) -> tuple[bytes, bool]:
        """Encode a picture; give an access unit, and whether it is a keyframe."""
        with self._lock:
            is_forced = self._keyframes_due > 0
            self._keyframes_due -= is_forced
            bitrate_bps = self._bitrate_bps
        if self._codec is None or bitrate_bps > self._opened_bps:
            # libx264 never exceeds the rate that it was opened with.
            self._codec = self._open(bitrate_bps)
            self._opened_bps = bitrate_bps
        # Only once it runs: x264 derives its ceiling from what it is opened with.
        self._codec.bit_rate = bitrate_bps
        frame.pts = self._count
        frame.pict_type = PictureType.I if is_forced else PictureType.NONE
        self._count += 1
        units = _units(b"".join(bytes(packet) for packet in self._codec.encode(frame)))
        kept = [unit for unit in units if unit[0] & 0x1F != _SEI]
        is_keyframe = any(unit[0] & 0x1F == _IDR for unit in kept)
        return b"".join(b"\x00\x00\x00\x01" + unit for unit in kept), is_keyframe

    def _open(self, bitrate_bps: int) -> VideoCodecContext:
        codec = VideoCodecContext.create("libx264", "w")
        codec.width, codec.height = self._size
        codec.pix_fmt = "yuv420p"
        codec.framerate = Fraction(round(self._framerate * 1_000), 1_000)
        codec.time_base = 1 / codec.framerate
        codec.bit_rate = bitrate_bps
        codec.gop_size = self._period
        codec.thread_count = 1
        codec.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "forced-idr": "1",
            "maxrate": str(bitrate_bps),
            "bufsize": str(bitrate_bps),
            "x264-params": "scenecut=0",
        }
        return codec


def _units(data: bytes) -> list[bytes]:
    """Take an Annex B stream apart."""
    return [unit.rstrip(b"\x00") for unit in data.split(b"\x00\x00\x01")[1:]]

"""Raw pictures: the arrays inside a yuv420p `av.VideoFrame`."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

_BLACK = (16, 128, 128)
_ONCE = Fraction(1)

Plane = NDArray[np.uint8]
"""Height x width of one component; U and V have half of both."""


def planes_of(picture: av.VideoFrame) -> list[Plane]:
    """Give Y, U and V of `picture`, to be read and written in place, without the padding."""
    planes = []
    for plane in picture.planes:
        buffer: Any = plane  # it is one, which PyAV's stubs do not say
        rows = np.frombuffer(buffer, np.uint8).reshape(-1, plane.line_size)
        planes.append(rows[: plane.height, : plane.width])
    return planes


def picture_over(buffer: Plane, *, width_px: int, height_px: int, stride: int) -> av.VideoFrame:
    """Make a picture of a camera's YUV420 buffer without copying it; valid as long as the buffer.

    The buffer holds rows of Y `stride` bytes apart, then U and V, half as far apart.
    """
    rows = buffer[: height_px * 3 // 2 * stride].reshape(height_px * 3 // 2, stride)
    return av.VideoFrame.from_numpy_buffer(rows, format="yuv420p", width=width_px)


def as_jpeg(picture: av.VideoFrame) -> bytes:
    """Encode a still, at the quality of a good photograph."""
    still = VideoReformatter().reformat(picture, format="yuvj420p", dst_color_range=ColorRange.JPEG)
    still.pts, still.time_base, still.pict_type = 0, _ONCE, PictureType.NONE
    codec = VideoCodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = still.width, still.height, "yuvj420p"
    codec.time_base = _ONCE
    codec.options = {"qmin": "2", "qmax": "4"}
    return b"".join(bytes(packet) for packet in [*codec.encode(still), *codec.encode(None)])


class Fitter:
    """Brings pictures of any size and format to one size in yuv420p, limited range.

    Shapes are kept: where the shape differs, black bars fill the rest.
    """

    def __init__(self, *, width_px: int, height_px: int) -> None:
        self._width_px = width_px
        self._height_px = height_px
        # Kept, for it keeps its tables from picture to picture.
        self._reformatter = VideoReformatter()

    def fit(self, picture: av.VideoFrame) -> av.VideoFrame:
        """Give the picture in the new size; it may be the same object."""
        scale = min(self._width_px / picture.width, self._height_px / picture.height)
        width_px = max(2, round(picture.width * scale / 2) * 2)
        height_px = max(2, round(picture.height * scale / 2) * 2)
        scaled = self._reformatter.reformat(
            picture, width_px, height_px, "yuv420p", dst_color_range=ColorRange.MPEG
        )
        if (width_px, height_px) == (self._width_px, self._height_px):
            return scaled
        framed = av.VideoFrame(self._width_px, self._height_px, "yuv420p")
        left, top = (self._width_px - width_px) // 4 * 2, (self._height_px - height_px) // 4 * 2
        planes = zip(planes_of(framed), planes_of(scaled), _BLACK, (1, 2, 2), strict=True)
        for whole, part, black, divisor in planes:
            y, x = top // divisor, left // divisor
            whole[:] = black
            whole[y : y + part.shape[0], x : x + part.shape[1]] = part
        return framed

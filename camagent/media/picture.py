"""Raw pictures: the arrays inside a yuv420p `av.VideoFrame`."""

from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

_BLACK = (16, 128, 128)

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


def copy_picture(buffer: Plane, *, width_px: int, height_px: int, stride: int) -> av.VideoFrame:
    """Copy a camera's YUV420 buffer: rows of Y `stride` apart, then U and V half as far apart."""
    picture = av.VideoFrame(width_px, height_px, "yuv420p")
    start = 0
    for plane, scale in zip(planes_of(picture), (1, 2, 2), strict=True):
        rows, row_bytes = height_px // scale, stride // scale
        end = start + rows * row_bytes
        plane[:] = buffer[start:end].reshape(rows, row_bytes)[:, : width_px // scale]
        start = end
    return picture


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

"""Raw pictures: the arrays inside a yuv420p `av.VideoFrame`."""

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

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

"""What is done to raw pictures."""

import numpy as np
import pytest

from camagent.media.picture import Fitter, copy_picture, planes_of
from tests.media.streams import grey


@pytest.mark.parametrize(("width_px", "stride"), [(64, 64), (100, 128), (106, 128)])
def test_a_cameras_buffer_is_copied_without_its_padding(width_px: int, stride: int) -> None:
    """Rows may be longer than the picture is wide, and the buffer longer than the picture."""
    height_px = 48
    buffer = np.zeros(stride * height_px * 3 // 2 + 4096, np.uint8)
    luma = buffer[: stride * height_px].reshape(height_px, stride)
    chroma = buffer[stride * height_px : stride * height_px * 3 // 2].reshape(2, -1, stride // 2)
    luma[:, :width_px] = 200
    chroma[0, :, : width_px // 2] = 90
    chroma[1, :, : width_px // 2] = 170

    picture = copy_picture(buffer, width_px=width_px, height_px=height_px, stride=stride)
    buffer[:] = 0

    assert [plane.shape for plane in planes_of(picture)] == [
        (height_px, width_px),
        (height_px // 2, width_px // 2),
        (height_px // 2, width_px // 2),
    ]
    assert [set(plane.flat) for plane in planes_of(picture)] == [{200}, {90}, {170}]


@pytest.mark.parametrize(
    ("width_px", "height_px", "bars"),
    [(1280, 720, "none"), (640, 480, "sides"), (1000, 300, "above"), (90, 160, "sides")],
)
def test_any_shape_fits(width_px: int, height_px: int, bars: str) -> None:
    """The picture is as large as its shape allows, in the middle."""
    fitted = Fitter(width_px=320, height_px=180).fit(
        grey(200, width_px=width_px, height_px=height_px)
    )
    luma = planes_of(fitted)[0]
    assert luma.shape == (180, 320)
    assert luma[90, 160] == pytest.approx(200, abs=1)
    assert (luma[90, 0] == 16) == (luma[90, -1] == 16) == (bars == "sides")
    assert (luma[0, 160] == 16) == (luma[-1, 160] == 16) == (bars == "above")

"""What is done to raw pictures."""

import io

import av
import numpy as np
import pytest

from camagent.media.picture import Fitter, as_jpeg, picture_over, planes_of
from tests.media.streams import grey


@pytest.mark.parametrize(("width_px", "stride"), [(64, 64), (100, 128), (106, 128)])
def test_a_cameras_buffer_is_a_picture_without_its_padding(width_px: int, stride: int) -> None:
    """Rows may be longer than the picture is wide, and the buffer longer than the picture."""
    height_px = 48
    buffer = np.zeros(stride * height_px * 3 // 2 + 4096, np.uint8)
    luma = buffer[: stride * height_px].reshape(height_px, stride)
    chroma = buffer[stride * height_px : stride * height_px * 3 // 2].reshape(2, -1, stride // 2)
    luma[:, :width_px] = 200
    chroma[0, :, : width_px // 2] = 90
    chroma[1, :, : width_px // 2] = 170

    picture = picture_over(buffer, width_px=width_px, height_px=height_px, stride=stride)

    assert [plane.shape for plane in planes_of(picture)] == [
        (height_px, width_px),
        (height_px // 2, width_px // 2),
        (height_px // 2, width_px // 2),
    ]
    assert [set(plane.flat) for plane in planes_of(picture)] == [{200}, {90}, {170}]
    luma[0, 0] = 17
    assert planes_of(picture)[0][0, 0] == 17, "it was copied"


def test_a_still_is_a_jpeg_of_the_same_picture() -> None:
    """Its size and its levels are those of the picture, in JPEG's full range."""
    jpeg = as_jpeg(grey(126, width_px=320, height_px=240))
    with av.open(io.BytesIO(jpeg), format="mjpeg") as file:
        still = next(file.decode(video=0)).to_ndarray(format="gray")
    assert jpeg[:2] == b"\xff\xd8"
    assert still.shape == (240, 320)
    assert still.mean() == pytest.approx((126 - 16) * 255 / 219, abs=2)


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

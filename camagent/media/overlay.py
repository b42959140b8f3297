"""The time and the device's name, drawn into pictures before libx264 encodes them.

The text is rendered once in a second; a picture then costs copies of a small panel. The panel is
opaque: it costs the encoder few bits, is readable before anything, and drawn twice looks the same.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import av
import structlog

from camagent.media.frame import Encoding

if TYPE_CHECKING:
    from camagent.media.picture import Plane

log = structlog.get_logger(__name__)

_PANEL, _WHITE, _NEUTRAL = 26, 235, 128
_ROWS_PER_LINE = 30
_SMALLEST_FONT_PX = 12
_BLOCK_PX = 16
"""A macroblock: a panel on their grid costs the fewest bits."""


class Overlay:
    """Draws into pictures of one size, from one thread; `text` follows the time of day."""

    def __init__(self, text: str, *, now_s: Callable[[], float] = time.time) -> None:
        self._text = text
        self._now_s = now_s
        self._second: int | None = None
        self._panel: Plane

    def draw(self, picture: av.VideoFrame) -> av.VideoFrame:
        """Draw into `picture`, a writable yuv420p, at the bottom on the left; give it back."""
        # Here, for it loads numpy: an idle agent should not.
        from camagent.media.picture import planes_of  # noqa: PLC0415

        second = int(self._now_s())
        if second != self._second:
            self._panel = self._render(second, picture.width, picture.height)
            self._second = second
        height_px, width_px = self._panel.shape
        left = min(_BLOCK_PX, picture.width - width_px) & ~1
        top = max(0, picture.height - height_px - _BLOCK_PX) & ~(_BLOCK_PX - 1)
        luma, *chroma = planes_of(picture)
        luma[top : top + height_px, left : left + width_px] = self._panel
        for plane in chroma:
            rows = slice(top // 2, (top + height_px) // 2)
            plane[rows, left // 2 : (left + width_px) // 2] = _NEUTRAL
        return picture

    def _render(self, second: int, most_wide_px: int, picture_height_px: int) -> "Plane":
        """Give the panel's luma; what does not fit is cut off at its right, which is the text's end."""
        import numpy as np  # noqa: PLC0415
        from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415

        font_px = max(_SMALLEST_FONT_PX, picture_height_px // _ROWS_PER_LINE)
        font = ImageFont.load_default(font_px)
        told = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        words = f"{told}  {self._text}".rstrip()
        # As wide as with the widest figures, so that the panel keeps its size.
        widest = max(font.getlength("".join(d if c.isdigit() else c for c in words)) for d in "048")
        padding_px = font_px // 2
        width_px = min(_blocks(int(widest) + 2 * padding_px), most_wide_px & ~1)
        height_px = _blocks(font_px * 4 // 3)
        image = Image.new("L", (width_px, height_px), _PANEL)
        middle = (padding_px, height_px // 2)
        ImageDraw.Draw(image).text(middle, words, fill=_WHITE, font=font, anchor="lm")
        return np.asarray(image)


class OverlayNotice:
    """Says once that pictures are encoded where no overlay can be drawn, if one was asked for."""

    def __init__(self, overlay: str | None) -> None:
        self._is_due = overlay is not None

    def consider(self, encoding: Encoding) -> None:
        """Look at the encoding of an opened source."""
        if not self._is_due or encoding.encoder == "libx264":
            return
        self._is_due = False
        note = "only libx264 encodes pictures that were drawn into; CAMAGENT_VIDEO__OVERLAY=false"
        if not encoding.makes_keyframes:
            note = "frames are handed on as they come; CAMAGENT_VIDEO__TRANSCODE=true draws it"
        log.warning("overlay.not_drawn", encoder=encoding.encoder, note=note)


def _blocks(length_px: int) -> int:
    return -(-length_px // _BLOCK_PX) * _BLOCK_PX

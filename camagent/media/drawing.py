"""Draws the test picture: slow colours, a bouncing ball, a clock and the timestamp strip.

Everything that can be is drawn once; a picture is then a few copies, about a millisecond at 720p.
"""

import math
import time
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from camagent.media.picture import Plane, planes_of
from camagent.media.timestamp import STRIP_ROWS, draw_timestamp

Colour = tuple[int, int, int]
"""Y, U and V in limited range."""

_NEUTRAL = 128
_BACKGROUND: tuple[Colour, ...] = ((56, 160, 112), (100, 152, 86), (124, 106, 172), (74, 156, 156))
_BALL: Colour = (205, 62, 158)
_PANEL, _WHITE = 26, 235

_DRIFT_PX_PER_S = 60
_CROSSINGS_PER_S = 0.17
_BOUNCES_PER_S = 0.6
_CLOCK_CHARACTERS = len(" 00:00:00.000 ")

# Seven rows of five dots each, as the bits of a number.
_FONT = {
    "0": (0x0E, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0E),
    "1": (0x04, 0x0C, 0x04, 0x04, 0x04, 0x04, 0x0E),
    "2": (0x0E, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1F),
    "3": (0x0E, 0x11, 0x01, 0x06, 0x01, 0x11, 0x0E),
    "4": (0x02, 0x06, 0x0A, 0x12, 0x1F, 0x02, 0x02),
    "5": (0x1F, 0x10, 0x1E, 0x01, 0x01, 0x11, 0x0E),
    "6": (0x06, 0x08, 0x10, 0x1E, 0x11, 0x11, 0x0E),
    "7": (0x1F, 0x01, 0x02, 0x04, 0x04, 0x08, 0x08),
    "8": (0x0E, 0x11, 0x11, 0x0E, 0x11, 0x11, 0x0E),
    "9": (0x0E, 0x11, 0x11, 0x0F, 0x01, 0x02, 0x0C),
    ":": (0x00, 0x0C, 0x0C, 0x00, 0x0C, 0x0C, 0x00),
    ".": (0x00, 0x00, 0x00, 0x00, 0x00, 0x0C, 0x0C),
    " ": (0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00),
}
_GLYPH_COLUMNS, _GLYPH_ROWS = 6, 9
"""A glyph's cell in dots, with the space around it."""


class TestPicture:
    """Draws pictures of one size; the same time always gives the same picture."""

    __test__ = False

    def __init__(self, *, width_px: int, height_px: int) -> None:
        self._width_px = width_px
        self._height_px = height_px
        self._background = [
            _gradient(width_px // scale, height_px // scale, [c[plane] for c in _BACKGROUND])
            for plane, scale in enumerate((1, 2, 2))
        ]
        self._ball = _Ball(diameter_px=height_px // 5 & ~1)
        dots = _CLOCK_CHARACTERS * _GLYPH_COLUMNS
        self._clock = _Clock(dot_px=max(1, width_px * 3 // 4 // dots & ~1))

    def draw(self, unix_time_us: int) -> av.VideoFrame:
        """Draw the picture of that moment, as yuv420p."""
        picture = av.VideoFrame(self._width_px, self._height_px, "yuv420p")
        planes = planes_of(picture)
        seconds = unix_time_us / 1_000_000
        self._draw_background(planes, seconds)
        self._ball.draw(planes, seconds)
        self._clock.draw(planes, unix_time_us)
        for plane, scale in zip(planes, (1, 2, 2), strict=True):
            plane[: STRIP_ROWS // scale] = _PANEL if scale == 1 else _NEUTRAL
        draw_timestamp(planes[0], unix_time_us)
        return picture

    def _draw_background(self, planes: list[Plane], seconds: float) -> None:
        shift_px = int(seconds * _DRIFT_PX_PER_S) % self._width_px & ~1
        for plane, wide, scale in zip(planes, self._background, (1, 2, 2), strict=True):
            left = shift_px // scale
            np.copyto(plane, wide[:, left : left + plane.shape[1]])


class _Ball:
    """A shaded ball that bounces from wall to wall."""

    def __init__(self, *, diameter_px: int) -> None:
        self._diameter_px = diameter_px
        self._sprites = []
        for colour, scale in zip(_BALL, (1, 2, 2), strict=True):
            size = diameter_px // scale
            y, x = (np.mgrid[:size, :size] + 0.5 - size / 2) / (size / 2)
            cover = np.clip((1 - np.hypot(x, y)) * size / 3, 0, 1)
            shade = 1 - 0.45 * np.clip(np.hypot(x + 0.35, y + 0.4), 0, 1.6) if scale == 1 else 1.0
            self._sprites.append((cover, cover * colour * shade))

    def draw(self, planes: list[Plane], seconds: float) -> None:
        height_px, width_px = planes[0].shape
        room_x_px = width_px - self._diameter_px
        room_y_px = height_px - self._diameter_px - STRIP_ROWS
        across = abs(seconds * _CROSSINGS_PER_S % 2 - 1)
        up = abs(math.sin(seconds * _BOUNCES_PER_S * math.pi))
        left = int(across * room_x_px) & ~1
        top = STRIP_ROWS + (int((1 - up) * room_y_px) & ~1)
        for plane, (cover, colour), scale in zip(planes, self._sprites, (1, 2, 2), strict=True):
            size = self._diameter_px // scale
            y, x = top // scale, left // scale
            behind = plane[y : y + size, x : x + size]
            behind[:] = behind * (1 - cover) + colour


class _Clock:
    """The time of day on a dark panel in the middle of the picture."""

    def __init__(self, *, dot_px: int) -> None:
        self._glyph_px = (_GLYPH_ROWS * dot_px, _GLYPH_COLUMNS * dot_px)
        self._glyphs = {character: _glyph(dots, dot_px) for character, dots in _FONT.items()}

    def draw(self, planes: list[Plane], unix_time_us: int) -> None:
        height_px, width_px = self._glyph_px
        of_day = time.strftime("%H:%M:%S", time.localtime(unix_time_us // 1_000_000))
        text = f" {of_day}.{unix_time_us // 1_000 % 1_000:03} "
        # On a grid of 16, so that the panel's edges are those of macroblocks and cost no bits.
        top = (planes[0].shape[0] - height_px) // 2 & ~15
        left = (planes[0].shape[1] - width_px * len(text)) // 2 & ~15
        glyphs = np.hstack([self._glyphs[character] for character in text])
        planes[0][top : top + height_px, left : left + glyphs.shape[1]] = glyphs
        for plane in planes[1:]:
            rows, columns = height_px // 2, glyphs.shape[1] // 2
            plane[top // 2 : top // 2 + rows, left // 2 : left // 2 + columns] = _NEUTRAL


def _gradient(width: int, height: int, stops: list[int]) -> Plane:
    """Draw a plane twice as wide as the picture, whose right half continues the left one."""
    position = np.arange(width) / width * len(stops)
    lower = position.astype(int)
    blend = (1 - np.cos((position - lower) * math.pi)) / 2
    levels = np.array([*stops, stops[0]])
    row = (levels[lower] * (1 - blend) + levels[lower + 1] * blend).astype(np.uint8)
    # Each row is the first one, shifted: bands that bend like waves.
    y = np.arange(height) / height
    shift = (width * (0.12 * np.sin(2 * math.pi * y) + 0.25 * y)).astype(int)
    plane: Plane = row[(np.arange(2 * width) + shift[:, np.newaxis]) % width]
    return plane


def _glyph(dots: tuple[int, ...], dot_px: int) -> Plane:
    """Draw a glyph with round corners: every dot is a disc, joined with those beside it."""
    columns = _GLYPH_COLUMNS - 1
    grid = np.array([[row >> (columns - 1 - x) & 1 for x in range(columns)] for row in dots])
    cell = np.zeros((_GLYPH_ROWS, _GLYPH_COLUMNS))
    cell[1 : 1 + len(dots), :columns] = grid
    sharp = np.kron(cell, np.ones((dot_px, dot_px)))
    soft = _blurred(_blurred(sharp, dot_px // 2), dot_px // 2)
    cover = np.clip((soft - 0.4) * dot_px / 2 + 0.5, 0, 1)
    glyph: Plane = (_PANEL + cover * (_WHITE - _PANEL)).astype(np.uint8)
    return glyph


def _blurred(image: NDArray[Any], radius: int) -> NDArray[Any]:
    """Average over a square of `2 * radius + 1`."""
    kernel = np.ones(2 * radius + 1) / (2 * radius + 1)
    for axis in (0, 1):
        image = np.apply_along_axis(np.convolve, axis, image, kernel, mode="same")
    return image

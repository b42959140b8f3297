"""A picture's capture time, as black and white cells that survive encoding and decoding.

The top 16 rows hold a 64-bit number, most significant bit on the left, one cell for each bit. Cells
are `width // 64` wide, white for 1 and black for 0, in limited-range luma.
"""

import numpy as np

from camagent.media.picture import Plane

STRIP_ROWS = 16
_BITS = 64
_BLACK, _WHITE = 16, 235
_DARKEST_WHITE, _BRIGHTEST_BLACK = 150, 100


def draw_timestamp(luma: Plane, timestamp: int) -> None:
    """Write `timestamp` into the top rows of `luma`, an array of height x width."""
    cell_px = luma.shape[1] // _BITS
    bits = np.unpackbits(np.array([timestamp], dtype=">u8").view(np.uint8))
    cells = np.where(bits, np.uint8(_WHITE), np.uint8(_BLACK))
    luma[:STRIP_ROWS, : cell_px * _BITS] = np.repeat(cells, cell_px)


def read_timestamp(luma: Plane) -> int:
    """Read the number in the top rows of `luma`, an array of height x width.

    Only the middle of each cell counts, so blur does no harm, nor does scaling from and to widths
    that are multiples of 64.

    Raises:
        ValueError: a cell is neither black nor white.
    """
    cell_px = luma.shape[1] // _BITS
    if cell_px == 0:
        raise ValueError(f"a picture {luma.shape[1]} wide has no room for {_BITS} cells")
    margin_px = cell_px // 3
    rows = luma[STRIP_ROWS // 8 : STRIP_ROWS // 2, : cell_px * _BITS]
    middles = rows.reshape(len(rows), _BITS, cell_px)[:, :, margin_px : cell_px - margin_px]
    levels = middles.mean(axis=(0, 2))
    unclear = np.flatnonzero((levels > _BRIGHTEST_BLACK) & (levels < _DARKEST_WHITE))
    if unclear.size:
        cell = int(unclear[0])
        raise ValueError(f"cell {cell} is neither black nor white: {levels[cell]:.0f} of 255")
    bits = levels >= _DARKEST_WHITE
    return int.from_bytes(np.packbits(bits).tobytes(), "big")

"""Asks an encoder for more or less than is meant, so that what is meant comes out. Pure.

libx264 weighs a change of rate against all it encoded before, and so takes many seconds to use what
it is newly allowed. What it makes over a few pictures tells how far it is off.
"""

from collections import deque

_PICTURES = 12
_UP, _DOWN = 0.1, 0.25
_LEAST, _MOST = 0.7, 1.6
_US_PER_S = 1_000_000


class Trim:
    """How far one encoder is off, learned from the sizes of its frames."""

    def __init__(self) -> None:
        self._sizes: deque[tuple[int, int]] = deque(maxlen=_PICTURES + 1)
        self._factor = 1.0

    def note(self, *, size_bytes: int, pts_us: int, meant_bps: int) -> None:
        """Take a frame that was to be one of `meant_bps`."""
        self._sizes.append((pts_us, size_bytes))
        lasts_us = pts_us - self._sizes[0][0]
        if len(self._sizes) <= _PICTURES or lasts_us <= 0:
            return
        made_bytes = sum(size for _, size in self._sizes) - self._sizes[0][1]
        off = meant_bps * lasts_us / (8 * _US_PER_S * max(1, made_bytes))
        self._factor *= off ** (_UP if off > 1 else _DOWN)
        self._factor = min(_MOST, max(_LEAST, self._factor))

    def asked_bps(self, meant_bps: int) -> int:
        """Give what to ask the encoder for."""
        return round(meant_bps * self._factor)

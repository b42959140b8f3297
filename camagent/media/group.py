"""The frames since the last keyframe, for somebody who joins a stream."""

from collections.abc import Sequence

from camagent.media.frame import EncodedFrame

LONGEST_US = 2_000_000
MOST_BYTES = 4_000_000


class Group:
    """One group of pictures as far as it has come: at most `longest_us` and 4 MB.

    One that outgrows this is let go of, and the next keyframe begins another.
    """

    def __init__(self, *, longest_us: int = LONGEST_US) -> None:
        self._longest_us = longest_us
        self._frames: list[EncodedFrame] = []
        self._bytes = 0

    @property
    def frames(self) -> Sequence[EncodedFrame]:
        """What a joiner starts with; empty, or a keyframe and all after it."""
        return self._frames

    def add(self, frame: EncodedFrame) -> None:
        """Keep `frame`, the newest of the stream."""
        if frame.is_keyframe:
            self._frames, self._bytes = [], 0
        elif not self._frames:
            return
        self._frames.append(frame)
        self._bytes += len(frame.data)
        is_long = frame.pts_us - self._frames[0].pts_us > self._longest_us
        if is_long or self._bytes > MOST_BYTES:
            self._frames, self._bytes = [], 0

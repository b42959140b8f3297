"""Packetizes each frame once for all its viewers, and keeps it a while for retransmission.

The bounds are a second at 64 frames and 4 MB, whichever is less; who asks for an older packet gets
a keyframe instead.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from camagent.media.frame import EncodedFrame
from camagent.webrtc.layout import HeaderPlan, Run, lay_out
from camagent.webrtc.packetizer import packetize
from camagent.webrtc.srtp import Scratch

MOST_FRAMES_KEPT = 64
_MOST_BYTES_KEPT = 4_000_000


class PackedFrame:
    """One frame as RTP payloads, laid out once for each plan that viewers of it have."""

    def __init__(self, number: int, frame: EncodedFrame, *, now_s: float) -> None:
        self.number = number
        self.frame = frame
        self.payloads: Sequence[bytes] = packetize(frame.data)
        self.payload_bytes = sum(map(len, self.payloads))
        self._packed_at_s = now_s
        self._layouts: dict[HeaderPlan, tuple[Run, ...]] = {}

    def laid_out(self, plan: HeaderPlan) -> tuple[Run, ...]:
        """Give its packets for viewers with `plan`; stamped as sent when it was packetized."""
        layout = self._layouts.get(plan)
        if layout is None:
            layout = lay_out(
                self.payloads,
                plan,
                sent_at_s=self._packed_at_s,
                marked=len(self.payloads) - 1,
            )
            self._layouts[plan] = layout
        return layout

    def forget_layouts(self) -> None:
        """Keep the payloads only: its packets have been sent."""
        self._layouts = {}


class Packing:
    """The frames of one rung, packetized, and the memory that viewers' copies are made in.

    `unix_time_s` stamps packets with the time they are sent.
    """

    def __init__(self, *, unix_time_s: Callable[[], float] = time.time) -> None:
        self.scratch = Scratch()
        self._unix_time_s = unix_time_s
        self._kept: OrderedDict[int, PackedFrame] = OrderedDict()
        self._kept_bytes = 0
        self._newest: PackedFrame | None = None
        self._count = 0

    def pack(self, frame: EncodedFrame) -> PackedFrame:
        """Packetize `frame`, unless that was done for another viewer just now."""
        newest = self._newest
        if newest is not None and newest.frame is frame:
            return newest
        if newest is not None:
            newest.forget_layouts()
        self._count += 1
        packed = PackedFrame(self._count, frame, now_s=self._unix_time_s())
        self._newest = self._kept[packed.number] = packed
        self._kept_bytes += len(frame.data)
        while len(self._kept) > MOST_FRAMES_KEPT or self._kept_bytes > _MOST_BYTES_KEPT:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.frame.data)
        return packed

    def find(self, number: int) -> PackedFrame | None:
        """Give a frame by its number, unless that is too long ago."""
        return self._kept.get(number)

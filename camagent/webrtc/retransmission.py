"""Which of the packets that a viewer misses are sent again (RFC 4588), within a budget. Pure.

Retransmissions share the way with what they repair: on a link that is too narrow, more of them
make it worse. A quarter of what is sent may be sent again; beyond that a keyframe repairs all.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from camagent.webrtc.packing import MOST_FRAMES_KEPT

_SHARE = 0.25
_MOST_SAVED_BYTES = 64_000
_AGAIN_AFTER_S = 0.06
_MOST_ASKED_AT_ONCE = 512
"""A second NACK within `_AGAIN_AFTER_S` that brings their number above this is not looked at."""

_SEQUENCE_NUMBERS = 1 << 16


@dataclass(slots=True)
class SentFrame:
    """Where one frame's packets went in this viewer's sequence.

    `first` is the sequence number of its first packet, counted on beyond 16 bits.
    """

    first: int
    packets: int
    number: int
    timestamp: int
    again_at_s: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Resend:
    """Packets of one frame to be sent again: their indices in it, in order."""

    sent: SentFrame
    indices: tuple[int, ...]


class Retransmissions:
    """What one viewer was sent lately, and what of it may be sent again.

    `now_s` is a monotonic clock.
    """

    def __init__(self, *, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._sent: deque[SentFrame] = deque(maxlen=MOST_FRAMES_KEPT)
        self._saved_bytes = float(_MOST_SAVED_BYTES)
        self._asked = 0
        self._asked_since_s = now_s()

    def note_sent(self, sent: SentFrame, *, size_bytes: int) -> None:
        """Remember a frame that was sent, which also earns a share of its size."""
        self._sent.append(sent)
        self._saved_bytes = min(_MOST_SAVED_BYTES, self._saved_bytes + size_bytes * _SHARE)

    def note_resent(self, size_bytes: int) -> None:
        """Spend what was sent again."""
        self._saved_bytes -= size_bytes

    @property
    def is_spent(self) -> bool:
        """True when no more may be sent again for now."""
        return self._saved_bytes <= 0

    def choose(self, lost: Iterable[int]) -> list[Resend]:
        """Pick from the sequence numbers of a NACK (RFC 4585, section 6.2.1) what to send again.

        What was never sent, is too old, or went out again less than 60 ms ago is left out.
        """
        now_s = self._now_s()
        if now_s - self._asked_since_s > _AGAIN_AFTER_S:
            self._asked_since_s, self._asked = now_s, 0
        chosen: dict[int, tuple[SentFrame, list[int]]] = {}
        firsts = [sent.first for sent in self._sent]
        for sequence_number in lost:
            self._asked += 1
            if self._asked > _MOST_ASKED_AT_ONCE or not firsts:
                break
            count = _counted_on(sequence_number, near=self._sent[-1].first)
            at = bisect_right(firsts, count) - 1
            if at < 0:
                continue
            sent = self._sent[at]
            index = count - sent.first
            if index >= sent.packets or now_s - sent.again_at_s.get(index, 0) < _AGAIN_AFTER_S:
                continue
            sent.again_at_s[index] = now_s
            chosen.setdefault(at, (sent, []))[1].append(index)
        return [Resend(sent, tuple(sorted(indices))) for sent, indices in chosen.values()]


def _counted_on(sequence_number: int, *, near: int) -> int:
    """Extend 16 bits to the count that is nearest to `near`."""
    half = _SEQUENCE_NUMBERS // 2
    return near + (sequence_number - near + half) % _SEQUENCE_NUMBERS - half

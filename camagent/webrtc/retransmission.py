"""Which of the packets that a viewer misses are sent again (RFC 4588), within a budget. Pure.

Retransmissions share the way with what they repair: on a link that is too narrow, more of them
make it worse. A quarter of what is sent may be sent again; beyond that a keyframe repairs all. None
is sent again before the viewer can have said that it missed it twice: browsers ask each 100 ms, and
where packets queue for longer than that all repairs would go out several times. Where
about half of what is sent is missed, the way is far too narrow for it, and that is known here first.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from camagent.webrtc.packing import MOST_FRAMES_KEPT

_SHARE = 0.25
_MOST_SAVED_BYTES = 64_000
_SHORT = 0.5
_SAVED_OVER_FRAMES = 32
"""What is saved is of so many frames, about a second: on a slow link more would queue for long."""

_AGAIN_AFTER_S, _LONGEST_AGAIN_AFTER_S = 0.06, 0.5
_OF_THE_ROUND_TRIP = 0.9
_MOST_ASKED_AT_ONCE = 512
"""A second NACK within `_AGAIN_AFTER_S` that brings their number above this is not looked at."""

_HOPELESS = 0.4
_HOPELESS_OF_PACKETS, _HOPELESS_TORN = 24, 4
_HOPELESS_WITHIN = 27_000
"""In units of RTP timestamps, 90,000 a second."""

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
    is_keyframe: bool = False
    again_at_s: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Resend:
    """Packets of one frame to be sent again: their indices in it, in order."""

    sent: SentFrame
    indices: tuple[int, ...]


class Retransmissions:
    """What one viewer was sent lately, and what of it may be sent again.

    `now_s` is a monotonic clock.

    Attributes:
        round_trip_s: as it is known; None if it is not.
    """

    def __init__(self, *, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.round_trip_s: float | None = None
        self._sent: deque[SentFrame] = deque(maxlen=MOST_FRAMES_KEPT)
        self._saved_bytes = float(_MOST_SAVED_BYTES)
        # Of a frame, on average: to begin with so much that a first keyframe can be repaired.
        self._frame_bytes = _MOST_SAVED_BYTES / (_SHARE * _SAVED_OVER_FRAMES)
        self._newest_keyframe, self._is_short = 0, False
        self._asked = 0
        self._asked_since_s = now_s()

    def note_sent(self, sent: SentFrame, *, size_bytes: int) -> None:
        """Remember a frame that was sent, which also earns a share of its size."""
        self._sent.append(sent)
        self._frame_bytes += (size_bytes - self._frame_bytes) / _SAVED_OVER_FRAMES
        most_bytes = min(_MOST_SAVED_BYTES, _SHARE * _SAVED_OVER_FRAMES * self._frame_bytes)
        self._saved_bytes = min(most_bytes, self._saved_bytes + size_bytes * _SHARE)
        if sent.is_keyframe:
            self._newest_keyframe = sent.first
            self._is_short = self._saved_bytes < _SHORT * most_bytes

    def note_resent(self, size_bytes: int) -> None:
        """Spend what was sent again."""
        self._saved_bytes -= size_bytes

    @property
    def is_spent(self) -> bool:
        """True when no more may be sent again for now."""
        return self._saved_bytes <= 0

    @property
    def hopeless_share(self) -> float:
        """What of the packets sent of late was missed, if it is so much that none is worth it; or 0.

        A network that was away for a moment loses all in a row. A way that is too narrow lets some of
        each frame through, and that is what is looked for.
        """
        packets = missed = torn = between = newest = 0
        for sent in reversed(self._sent):
            # Only from the first packet missed to the last: before it the queue had room, and what
            # is later may well be on its way.
            newest = newest if missed else sent.timestamp
            if newest - sent.timestamp & 0xFFFF_FFFF > _HOPELESS_WITHIN:
                break
            between += sent.packets
            if sent.again_at_s:
                packets, between = packets + between if missed else sent.packets, 0
                missed += len(sent.again_at_s)
                torn += len(sent.again_at_s) < sent.packets
        is_much = packets >= _HOPELESS_OF_PACKETS and missed > _HOPELESS * packets
        return missed / packets if is_much and torn >= _HOPELESS_TORN else 0.0

    def give_up(self) -> None:
        """Send nothing of all this again: what is saved is for the keyframe that follows."""
        self._sent.clear()

    def choose(self, lost: Iterable[int]) -> list[Resend]:
        """Pick from the sequence numbers of a NACK (RFC 4585, section 6.2.1) what to send again.

        What was never sent, is too old, or went out again less than a round trip ago is left out; and
        what a keyframe has made needless, if little was saved when that was sent.
        """
        again_after_s = self._again_after_s
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
            if index >= sent.packets or now_s - sent.again_at_s.get(index, 0) < again_after_s:
                continue
            # Missed it was in any case.
            sent.again_at_s[index] = now_s
            if self._is_short and sent.first < self._newest_keyframe:
                continue
            chosen.setdefault(at, (sent, []))[1].append(index)
        return [Resend(sent, tuple(sorted(indices))) for sent, indices in chosen.values()]

    @property
    def _again_after_s(self) -> float:
        """For how long what was sent again cannot have been missed again."""
        round_trip_s = _OF_THE_ROUND_TRIP * (self.round_trip_s or 0.0)
        return min(_LONGEST_AGAIN_AFTER_S, max(_AGAIN_AFTER_S, round_trip_s))


def _counted_on(sequence_number: int, *, near: int) -> int:
    """Extend 16 bits to the count that is nearest to `near`."""
    half = _SEQUENCE_NUMBERS // 2
    return near + (sequence_number - near + half) % _SEQUENCE_NUMBERS - half

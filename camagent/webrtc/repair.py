"""Sends one viewer again what it lost, as a stream of its own (RFC 4588)."""

import contextlib
import itertools
import secrets
import time
from collections.abc import Callable, Sequence

from camagent.webrtc.layout import MOST_PACKETS_AT_ONCE, HeaderPlan, Run, lay_out
from camagent.webrtc.outgoing import Outgoing
from camagent.webrtc.packing import Packing
from camagent.webrtc.retransmission import Resend, Retransmissions, SentFrame
from camagent.webrtc.sending import Tally
from camagent.webrtc.wire import WireFull

_16_BITS = 0xFFFF


class Repair:
    """Answers NACKs from the history that all viewers share, or asks for a keyframe instead.

    `plan` is None for a viewer that takes no retransmissions.
    """

    def __init__(
        self,
        packing: Packing,
        outgoing: Outgoing,
        plan: HeaderPlan | None,
        *,
        request_keyframe: Callable[[], None],
        tally: Tally,
    ) -> None:
        self._packing = packing
        self._outgoing = outgoing
        self._plan = plan
        self._request_keyframe = request_keyframe
        self._tally = tally
        self._retransmissions = Retransmissions(now_s=time.monotonic)
        self._next = secrets.randbelow(1 << 15)

    def note_sent(self, sent: SentFrame, *, size_bytes: int) -> None:
        """Remember a frame that goes out."""
        self._retransmissions.note_sent(sent, size_bytes=size_bytes)

    def answer(self, lost: Sequence[int], *, round_trip_s: float | None) -> None:
        """Send again the packets with these sequence numbers, as far as that makes sense."""
        self._retransmissions.round_trip_s = round_trip_s
        if self._plan is None:
            self._request_keyframe()
            return
        chosen = self._retransmissions.choose(lost)
        if self._retransmissions.hopeless_share:
            return
        for resend in chosen:
            if self._retransmissions.is_spent:
                self._request_keyframe()
                return
            try:
                self._resend(resend, self._plan)
            except (WireFull, OSError, ValueError):
                # They are asked for again, or the picture is.
                return

    def given_up_share(self) -> float:
        """Give up what the viewer misses, if it is most of what it was sent: that share, or else 0."""
        share = self._retransmissions.hopeless_share
        if share:
            self._retransmissions.give_up()
        return share

    def pad(self, sent: SentFrame, size_bytes: int) -> None:
        """Send packets of this frame once more, over and over, until they are so many bytes.

        The viewer drops what it has already, but it counts in its estimate of the bandwidth.
        """
        packed = self._packing.find(sent.number)
        if self._plan is None or packed is None or size_bytes <= 0:
            return
        payloads: list[bytes] = []
        for index in itertools.cycle(range(len(packed.payloads))):
            payloads.append((sent.first + index & _16_BITS).to_bytes(2) + packed.payloads[index])
            size_bytes -= len(payloads[-1])
            if size_bytes <= 0 or len(payloads) == MOST_PACKETS_AT_ONCE:
                break
        for run in lay_out(payloads, self._plan, sent_at_s=time.time(), marked=None):
            with contextlib.suppress(WireFull, OSError, ValueError):
                self._send(run, timestamp=sent.timestamp)
                self._tally.padding_bytes += len(run.data)

    def _resend(self, resend: Resend, plan: HeaderPlan) -> None:
        packed = self._packing.find(resend.sent.number)
        if packed is None:
            self._request_keyframe()
            return
        # Each behind the sequence number that it had (RFC 4588, section 4).
        payloads = [
            (resend.sent.first + index & _16_BITS).to_bytes(2) + packed.payloads[index]
            for index in resend.indices
        ]
        is_last = resend.indices[-1] == len(packed.payloads) - 1
        marked = len(payloads) - 1 if is_last else None
        for run in lay_out(payloads, plan, sent_at_s=time.time(), marked=marked):
            self._retransmissions.note_resent(len(run.data))
            self._send(run, timestamp=resend.sent.timestamp)
            self._tally.packets_resent += len(run.places)

    def _send(self, run: Run, *, timestamp: int) -> None:
        number, self._next = self._next, self._next + len(run.places)
        self._outgoing.resend(run, sequence_number=number & _16_BITS, timestamp=timestamp)

"""What a viewer's receiver reports tell (RFC 3550, section 6.4), and whether it is still there. Pure."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

PAUSE_AFTER_S = 5.0
END_AFTER_S = 15.0

_LONGEST_HABIT = 0.8
_MOST_SENDER_REPORTS = 32
_FRACTIONS = 256
_DELAY_UNITS_PER_S = 65_536
_ROUND_TRIP_WEIGHT = 0.15
_CLOCK_HZ = 90_000


@dataclass(frozen=True, kw_only=True)
class Patience:
    """With a viewer to whom media goes out.

    Attributes:
        pause_after_s: who does not report for so long gets no media until it does.
        end_after_s: after this long its session ends.
    """

    pause_after_s: float = PAUSE_AFTER_S
    end_after_s: float = END_AFTER_S


PATIENCE = Patience()


@dataclass(frozen=True)
class Report:
    """The newest word of a viewer.

    Attributes:
        fraction_lost: of the packets since the report before, 0 to 1.
        packets_lost: since the start; duplicates count against it.
        highest_sequence: of the packets that came, counted on beyond 16 bits.
        jitter_s: of the packets' arrival.
        round_trip_s: smoothed; None until it is known.
        latest_round_trip_s: as this report is the first to tell; None if it tells nothing new.
        at_s: when it came, by the monotonic clock.
    """

    fraction_lost: float
    packets_lost: int
    highest_sequence: int
    jitter_s: float
    round_trip_s: float | None
    latest_round_trip_s: float | None
    at_s: float


class Reception:
    """What is known of one viewer's reception. `now_s` is a monotonic clock."""

    def __init__(self, *, now_s: Callable[[], float], patience: Patience = PATIENCE) -> None:
        self.patience = patience
        self._now_s = now_s
        self._sender_reports: deque[tuple[int, float]] = deque(maxlen=_MOST_SENDER_REPORTS)
        self._answered: int | None = None
        self._round_trip_s: float | None = None
        self._unanswered_since_s: float | None = None
        self._longest_silence_s = 0.0
        self.newest: Report | None = None

    def note_sent(self) -> None:
        """Note that media is being sent, to which reports are the answer."""
        if self._unanswered_since_s is None:
            self._unanswered_since_s = self._now_s()

    def note_sender_report(self, middle_of_ntp_time: int) -> None:
        """Remember when the sender report went out that a receiver will name by this number."""
        self._sender_reports.append((middle_of_ntp_time, self._now_s()))

    def note_heard(self) -> None:
        """Take anything that a viewer says about our stream as a sign of life."""
        self._longest_silence_s = max(self._longest_silence_s, self.silent_for_s)
        self._unanswered_since_s = None

    def note_report(
        self,
        *,
        fraction_lost: int,
        packets_lost: int,
        highest_sequence: int,
        jitter: int,
        lsr: int,
        dlsr: int,
    ) -> None:
        """Take a report block, its fields as they stand in it."""
        now_s = self._now_s()
        latest_s = None
        for number, sent_at_s in self._sender_reports:
            took_s = now_s - sent_at_s - dlsr / _DELAY_UNITS_PER_S
            if number == lsr != self._answered and lsr and took_s >= 0:
                latest_s, self._answered = took_s, lsr
                self._note_round_trip(took_s)
        self.newest = Report(
            fraction_lost=fraction_lost / _FRACTIONS,
            packets_lost=packets_lost,
            highest_sequence=highest_sequence,
            jitter_s=jitter / _CLOCK_HZ,
            round_trip_s=self._round_trip_s,
            latest_round_trip_s=latest_s,
            at_s=now_s,
        )

    @property
    def silent_for_s(self) -> float:
        """For how long media has gone out without a word from the viewer."""
        since_s = self._unanswered_since_s
        return 0.0 if since_s is None else self._now_s() - since_s

    @property
    def is_silent(self) -> bool:
        """True if media is better held back.

        A receiver with RFC 3550's interval of 5 s on average, as few have, is not held back twice.
        """
        habit_s = min(2 * self._longest_silence_s, _LONGEST_HABIT * self.patience.end_after_s)
        return self.silent_for_s > max(self.patience.pause_after_s, habit_s)

    @property
    def is_gone(self) -> bool:
        """True if the viewer is not to be waited for any longer."""
        return self.silent_for_s > self.patience.end_after_s

    def _note_round_trip(self, round_trip_s: float) -> None:
        before_s = self._round_trip_s
        if before_s is None:
            self._round_trip_s = round_trip_s
        else:
            self._round_trip_s = before_s + _ROUND_TRIP_WEIGHT * (round_trip_s - before_s)

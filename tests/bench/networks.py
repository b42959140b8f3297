"""Bad networks, and what has to come of the picture on them."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from tests.bench.gauge import Seen
from tests.bench.report import Figure
from tests.network import NO_FAULTS, Faults

CEILING_BPS = 2_500_000
SETTLES_S, LASTS_S = 5.0, 20.0
ALONE, BESIDE = "three alone", "three and a poor one"
_SPARED = 0.95


@dataclass(frozen=True)
class Change:
    """What the network is like from some second on."""

    at_s: float
    down: Faults
    up: Faults = NO_FAULTS


@dataclass
class Watch:
    """What came of one run: the times are seconds of Unix time.

    Attributes:
        started_at_s: when the first picture was there.
        changed_at_s: when each change of the network was made.
        seen: by each viewer.
        targets: of the first viewer, what its way was believed to take, at some times.
        joined_at_s: when one joined who came late; 0 if nobody did.
    """

    started_at_s: float = 0.0
    changed_at_s: list[float] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    targets: list[tuple[float, int]] = field(default_factory=list)
    joined_at_s: float = 0.0

    @property
    def window(self) -> Seen:
        """What the first viewer saw after it had settled."""
        return self.settled(self.seen[0])

    def settled(self, seen: Seen) -> Seen:
        """Give what `seen` has of the time that counts."""
        return seen.between(*self._times)

    @property
    def longest_gap_s(self) -> float:
        """The longest time without a new picture."""
        return self.seen[0].longest_gap_s(*self._times)

    @property
    def _times(self) -> tuple[float, float]:
        start_s = self.started_at_s + SETTLES_S
        return start_s, start_s + LASTS_S

    def reached_s(self, share: float) -> float:
        """Give the seconds until that share of the ceiling was believed to be taken."""
        reached = (at_s for at_s, bps in self.targets if bps >= share * CEILING_BPS)
        return next(reached, float("inf")) - self.started_at_s


@dataclass(frozen=True)
class Measure:
    """One figure of a run, and what it has to be."""

    what: str
    unit: str
    of: Callable[[Watch], float]
    least: float | None = None
    most: float | None = None

    @property
    def reach(self) -> str:
        """Say it for people."""
        if self.least is not None:
            return f">= {self.least:g}"
        return "(none set)" if self.most is None else f"<= {self.most:g}"

    def tell(self, run: Watch) -> str:
        """Say what came of one run."""
        return f"{self.what} {self.of(run):.3g} {self.unit};"

    def figure(self, name: str, whose: str, runs: Sequence[Watch]) -> Figure:
        """Give the median of several runs; of stock aiortc nothing is asked."""
        values = [self.of(run) for run in runs]
        value = statistics.median(values)
        is_ours = whose == "ours"
        return Figure(
            f"{name}: {self.what}, {whose}",
            self.reach if is_ours else "(none set)",
            float(f"{value:.3g}"),
            self.unit,
            met=self.is_met(value) or not is_ours,
            runs=tuple(float(f"{one:.3g}") for one in values),
        )

    def is_met(self, value: float) -> bool:
        """Tell whether that is good enough; what is no number is not."""
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


@dataclass(frozen=True)
class Scenario:
    """A network, and how the picture on it is judged."""

    changes: Sequence[Change]
    measures: Sequence[Measure]
    lasts_s: float = SETTLES_S + LASTS_S
    fine_viewers: int = 1
    poor_viewer: Faults | None = None
    poor_joins_at_s: float = 0
    is_in_the_table: bool = True

    @property
    def is_slow(self) -> bool:
        """True if packets take their time on it."""
        return any(change.down.delay_ms or change.up.delay_ms for change in self.changes)


FPS = partial(Measure, "frames", "/s", lambda run: run.window.frames_per_second)
GAP = partial(Measure, "longest without a new picture", "s", lambda run: run.longest_gap_s)
LATE = partial(Measure, "capture to display", "s", lambda run: run.window.lateness_s)
RATE = Measure("received", "kbit/s", lambda run: run.window.rate_bps / 1_000)


def _least_fps(run: Watch) -> float:
    return min(run.settled(seen).frames_per_second for seen in run.seen[:3])


def _least_rate(run: Watch) -> float:
    return min(run.settled(seen).rate_bps for seen in run.seen[:3]) / 1_000


def _joined(run: Watch) -> Seen:
    return run.seen[-1]


def _least_fps_meanwhile(run: Watch) -> float:
    at_s = run.joined_at_s
    return min(seen.between(at_s, at_s + 10).frames_per_second for seen in run.seen[:3])


def _narrow(rate_bps: int, *, queue_ms: int = 200) -> tuple[Change, ...]:
    return (Change(0, Faults(rate_bps=rate_bps, queue_ms=queue_ms)),)


def spared(runs: Mapping[str, Sequence[Watch]]) -> list[Figure]:
    """Compare three viewers beside a poor one with three alone, if there were both."""
    alone, beside = runs.get(ALONE), runs.get(BESIDE)
    if not alone or not beside:
        return []
    figures = []
    for what, of in (("frames", _least_fps), ("received", _least_rate)):
        medians = [statistics.median(map(of, watches)) for watches in (beside, alone)]
        share = float(f"{medians[0] / medians[1]:.3g}")
        name = f"{BESIDE}: {what}, of that without it, ours"
        figures.append(Figure(name, f">= {_SPARED:g}", share, "", share >= _SPARED))
    return figures


SCENARIOS = {
    "clean": Scenario(
        (Change(0, NO_FAULTS),),
        (
            FPS(least=29.5),
            Measure("freezes", "", lambda run: run.window.freezes, most=0),
            Measure("until the ceiling", "s", lambda run: run.reached_s(0.98), most=8),
            GAP(),
            LATE(),
            RATE,
        ),
    ),
    "1.2 Mbit/s": Scenario(
        _narrow(1_200_000), (FPS(least=25), GAP(most=0.5), LATE(most=0.4), RATE)
    ),
    "0.6 Mbit/s": Scenario(_narrow(600_000), (FPS(least=12), GAP(most=1), LATE(), RATE)),
    "0.3 Mbit/s": Scenario(_narrow(300_000), (FPS(least=5), GAP(most=2), LATE(), RATE)),
    "0.1 Mbit/s": Scenario(_narrow(100_000), (FPS(), GAP(), LATE(), RATE), is_in_the_table=False),
    "5 % loss": Scenario(
        (Change(0, Faults(loss_percent=5, delay_ms=50), Faults(delay_ms=50)),),
        (FPS(least=28), GAP(), LATE(), RATE),
    ),
    "drop": Scenario(
        (
            Change(0, Faults(rate_bps=2_500_000)),
            Change(15, Faults(rate_bps=500_000)),
            Change(30, Faults(rate_bps=2_500_000)),
        ),
        (
            Measure(
                "drop until it moves",
                "s",
                lambda run: run.seen[0].moves_again_s(run.changed_at_s[1]),
                most=2,
            ),
            Measure(
                "recovery until 90 % of the ceiling is received",
                "s",
                lambda run: run.seen[0].receives_again_s(
                    run.changed_at_s[2], 0.9 * CEILING_BPS, over_s=1
                ),
                most=15,
            ),
        ),
        lasts_s=47,
    ),
    ALONE: Scenario(
        (Change(0, NO_FAULTS),),
        (
            Measure("frames, least of the three", "/s", _least_fps),
            Measure("received, least of the three", "kbit/s", _least_rate),
        ),
        fine_viewers=3,
    ),
    BESIDE: Scenario(
        (Change(0, NO_FAULTS),),
        (
            Measure("frames, least of the three", "/s", _least_fps),
            Measure("received, least of the three", "kbit/s", _least_rate),
            Measure(
                "frames of the poor one",
                "/s",
                lambda run: run.settled(run.seen[-1]).frames_per_second,
            ),
        ),
        fine_viewers=3,
        poor_viewer=Faults(rate_bps=400_000),
    ),
    "a poor one joins three": Scenario(
        (Change(0, NO_FAULTS),),
        (
            Measure(
                "joining until the first picture",
                "s",
                lambda run: next(iter(_joined(run).shown_at_s), float("inf")) - run.joined_at_s,
            ),
            Measure(
                "joining until it moves",
                "s",
                lambda run: _joined(run).moves_again_s(run.joined_at_s),
                most=1.5,
            ),
            Measure("frames, least of the three, 10 s from then", "/s", _least_fps_meanwhile),
            Measure(
                "longest without a new picture, one of the three, 10 s from then",
                "s",
                lambda run: run.seen[0].longest_gap_s(run.joined_at_s, run.joined_at_s + 10),
            ),
        ),
        lasts_s=24,
        fine_viewers=3,
        poor_viewer=Faults(rate_bps=500_000),
        poor_joins_at_s=10,
    ),
}

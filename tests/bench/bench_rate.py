"""How the picture fares in Chromium on bad networks, ours beside stock aiortc's.

Runs on two joined networks of its own (tests/network.py), which takes root's rights. Arguments
choose scenarios by name; `--trace` tells second by second what is sent, and why.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from playwright.async_api import BrowserContext

from camagent.media.capture import Capture
from camagent.settings import VideoSettings
from camagent.webrtc.packing import Packing
from camagent.webrtc.sender import VideoSender
from camagent.webrtc.sending import Sender
from camagent.webrtc.stock import StockSender
from camagent.wiring import conduct, encoder_options
from tests.bench.gauge import Gauge, Seen
from tests.bench.noisy import NoisySource
from tests.bench.report import Figure, report
from tests.chromium import PATH, chromium
from tests.network import NO_FAULTS, Faults, Network, network
from tests.support import running
from tests.webrtc.browser_viewer import FLAGS, Watched, watched
from tests.webrtc.viewers import camera, straight_from

CEILING_BPS = 2_500_000
SETTLES_S, LASTS_S = 5.0, 20.0
ROUNDS, STOCK_ROUNDS = 3, 1
_COUNT_EVERY_S = 0.25

Serve = Callable[[Sender], AbstractContextManager[None]]


@dataclass(frozen=True)
class Change:
    """What the network is like from some second on."""

    at_s: float
    down: Faults


@dataclass
class Watch:
    """What came of one run: the times are seconds of Unix time.

    Attributes:
        started_at_s: when the first picture was there.
        changed_at_s: when each change of the network was made.
        seen: by each viewer.
        targets: of the first viewer, what its way was believed to take, at some times.
    """

    started_at_s: float = 0.0
    changed_at_s: list[float] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    targets: list[tuple[float, int]] = field(default_factory=list)

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
        value = statistics.median(self.of(run) for run in runs)
        is_ours = whose == "ours"
        return Figure(
            f"{name}: {self.what}, {whose}",
            self.reach if is_ours else "",
            float(f"{value:.3g}"),
            self.unit,
            met=self.is_met(value) or not is_ours,
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


FPS = partial(Measure, "frames", "/s", lambda run: run.window.frames_per_second)
GAP = partial(Measure, "longest without a new picture", "s", lambda run: run.longest_gap_s)
LATE = partial(Measure, "capture to display", "s", lambda run: run.window.lateness_s)
RATE = Measure("received", "kbit/s", lambda run: run.window.rate_bps / 1_000)


def _least_fps(run: Watch) -> float:
    return min(run.settled(seen).frames_per_second for seen in run.seen[:3])


def _least_rate(run: Watch) -> float:
    return min(run.settled(seen).rate_bps for seen in run.seen[:3]) / 1_000


def _narrow(rate_bps: int, *, queue_ms: int = 200) -> tuple[Change, ...]:
    return (Change(0, Faults(rate_bps=rate_bps, queue_ms=queue_ms)),)


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
    "0.1 Mbit/s": Scenario(_narrow(100_000), (FPS(), GAP(), LATE(), RATE)),
    "5 % loss": Scenario(
        (Change(0, Faults(loss_percent=5)),), (FPS(least=28), GAP(), LATE(), RATE)
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
    "three alone": Scenario(
        (Change(0, NO_FAULTS),),
        (
            Measure("frames, least of the three", "/s", _least_fps),
            Measure("received, least of the three", "kbit/s", _least_rate),
        ),
        fine_viewers=3,
    ),
    "three and a poor one": Scenario(
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
}


@dataclass(frozen=True)
class Rig:
    """Two viewers' networks that are joined to the device's, a Chromium in each."""

    fine: Network
    poor: Network
    at_fine: BrowserContext
    at_poor: BrowserContext


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    """Hold both networks and their browsers; the device's network is entered."""
    async with AsyncExitStack() as stack:
        fine = await stack.enter_async_context(network((4,)))
        poor = await stack.enter_async_context(network((4,), device=fine.device, cable=1))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        browsers = []
        for one in (fine, poor):
            path = one.viewer.launcher(PATH, folder)
            browser = await stack.enter_async_context(chromium(str(path), FLAGS))
            browsers.append(await browser.new_context())
        with fine.device.entered():
            yield Rig(fine, poor, *browsers)


Device = Callable[[], AbstractAsyncContextManager[tuple[Capture, Serve, Callable[[], Sender]]]]


@asynccontextmanager
async def ours() -> AsyncIterator[tuple[Capture, Serve, Callable[[], Sender]]]:
    """Hold a camera whose rungs follow the viewers."""
    video = VideoSettings(source="synthetic", bitrate_bps=CEILING_BPS)
    async with camera(source=NoisySource(encoder_options(video))) as capture:
        conductor = conduct(capture, video)
        async with running(conductor.run()):
            packing = Packing()
            yield capture, conductor.served, lambda: VideoSender(packing)


@asynccontextmanager
async def stock() -> AsyncIterator[tuple[Capture, Serve, Callable[[], Sender]]]:
    """Hold a camera that encodes at the ceiling for aiortc's own senders, whatever they report."""
    video = VideoSettings(source="synthetic", bitrate_bps=CEILING_BPS)
    async with camera(source=NoisySource(encoder_options(video))) as capture:
        yield capture, partial(straight_from, capture), StockSender


async def play(scenario: Scenario, rig: Rig, device: Device, *, is_traced: bool) -> Watch:
    """Run it once."""
    async with AsyncExitStack() as stack:
        capture, serve, new_sender = await stack.enter_async_context(device())
        if scenario.poor_viewer is not None:
            await stack.enter_async_context(rig.poor.faulty(down=scenario.poor_viewer))
        await stack.enter_async_context(rig.fine.faulty(down=scenario.changes[0].down))
        places = [rig.at_fine] * scenario.fine_viewers
        if scenario.poor_viewer is not None:
            places.append(rig.at_poor)
        viewers = []
        for place in places:
            entering = watched(
                place, capture, sender=new_sender(), serve_frames=serve, deadline_s=300
            )
            viewers.append(await stack.enter_async_context(entering))
        gauges = [Gauge(one.viewer.page) for one in viewers]
        await gauges[0].start()
        await viewers[0].until_decoded(1)
        run = Watch(started_at_s=time.time(), changed_at_s=[time.time()])
        async with running(_change(scenario, rig.fine, run)):
            while time.time() < run.started_at_s + scenario.lasts_s + 1:
                for one, gauge in zip(viewers, gauges, strict=True):
                    gauge.count(await one.viewer.stats())
                run.targets.append((time.time(), viewers[0].tally.rate_bps))
                if is_traced:
                    _trace(run, viewers, gauges)
                await asyncio.sleep(_COUNT_EVERY_S)
        run.seen = [await gauges[0].read(), *(gauge.seen for gauge in gauges[1:])]
    return run


async def _change(scenario: Scenario, way: Network, run: Watch) -> None:
    """Let the network change when it is to."""
    for change in scenario.changes[1:]:
        await asyncio.sleep(run.started_at_s + change.at_s - time.time())
        run.changed_at_s.append(time.time())
        await way.change(down=change.down)


def _trace(run: Watch, viewers: Sequence[Watched], gauges: Sequence[Gauge]) -> None:
    line = [f"{time.time() - run.started_at_s:5.1f} s"]
    for one, gauge in zip(viewers, gauges, strict=True):
        tally, latest = one.tally, Seen(counts=gauge.seen.counts[-5:])
        if len(latest.counts) > 1:
            line.append(
                f"{tally.rung} {tally.rate_bps / 1000:.0f} kbit/s ({tally.rate_why}), "
                f"received {latest.rate_bps / 1000:.0f}, {latest.frames_per_second:.0f}/s, "
                f"{tally.packets_resent} resent, {tally.keyframes} keyframes"
            )
    print(" | ".join(line))


async def measure(
    names: Sequence[str], *, rounds: int, stock_rounds: int, is_traced: bool
) -> list[Figure]:
    """Run the scenarios, ours and stock, and give what came of them."""
    figures = []
    async with rig() as built:
        for name in names:
            scenario = SCENARIOS[name]
            for whose, device, times in (("ours", ours, rounds), ("stock", stock, stock_rounds)):
                runs: list[Watch] = []
                for _ in range(times):
                    runs.append(await play(scenario, built, device, is_traced=is_traced))
                    print(f"{name}, {whose}:", *(one.tell(runs[-1]) for one in scenario.measures))
                figures += [one.figure(name, whose, runs) for one in scenario.measures if runs]
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    arguments.add_argument("--trace", action="store_true", help="tell what is sent, and why")
    arguments.add_argument("--rounds", type=int, default=ROUNDS, help="of ours; default 3")
    arguments.add_argument("--stock-rounds", type=int, default=STOCK_ROUNDS, help="default 1")
    chosen = arguments.parse_args()
    names = chosen.scenarios or list(SCENARIOS)
    figures = asyncio.run(
        measure(
            names,
            rounds=chosen.rounds,
            stock_rounds=chosen.stock_rounds,
            is_traced=chosen.trace,
        )
    )
    report("rate", figures, packages=("aiortc", "av"))


if __name__ == "__main__":
    main()

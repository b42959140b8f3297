"""How the picture fares in Chromium on bad networks, ours beside stock aiortc's.

Runs on two joined networks of its own (tests/network.py), which takes root's rights. Arguments
choose scenarios by name; `--trace` tells second by second what is sent, and why.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
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
from tests.bench.networks import CEILING_BPS, SCENARIOS, Scenario, Watch
from tests.bench.noisy import NoisySource
from tests.bench.report import Figure, report
from tests.chromium import PATH, chromium
from tests.network import Network, network
from tests.support import running
from tests.webrtc.browser_viewer import FLAGS, Watched, watched
from tests.webrtc.viewers import camera, straight_from

ROUNDS, STOCK_ROUNDS = 3, 1
_COUNT_EVERY_S = 0.25

Serve = Callable[[Sender], AbstractContextManager[None]]


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
        # Stock aiortc's may never come.
        with contextlib.suppress(TimeoutError):
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

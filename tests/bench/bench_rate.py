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
from tests.bench.networks import CEILING_BPS, SCENARIOS, Scenario, Watch, spared
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
class Way:
    """A viewer's network that is joined to the device's, and a Chromium in it."""

    network: Network
    browser: BrowserContext


@dataclass(frozen=True)
class Rig:
    """Three of them: the one that is looked at, a poor viewer's, and one that can delay packets."""

    fine: Way
    poor: Way
    slow: Way


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    """Hold the networks and their browsers; the device's network is entered."""
    async with AsyncExitStack() as stack:
        fine = await stack.enter_async_context(network((4,)))
        poor = await stack.enter_async_context(network((4,), device=fine.device, cable=1))
        slow = await stack.enter_async_context(
            network((4,), device=fine.device, cable=2, is_slow=True)
        )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways = []
        for one in (fine, poor, slow):
            path = one.viewer.launcher(PATH, folder)
            browser = await stack.enter_async_context(chromium(str(path), FLAGS))
            ways.append(Way(one, await browser.new_context()))
        with fine.device.entered():
            yield Rig(*ways)


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
        camera_and_sender = await stack.enter_async_context(device())
        way = rig.slow if scenario.is_slow else rig.fine
        first = scenario.changes[0]
        await stack.enter_async_context(way.network.faulty(down=first.down, up=first.up))
        if scenario.poor_viewer is not None:
            await stack.enter_async_context(rig.poor.network.faulty(down=scenario.poor_viewer))
        places = [way] * scenario.fine_viewers
        if scenario.poor_viewer is not None and not scenario.poor_joins_at_s:
            places.append(rig.poor)
        viewers = [await _join(stack, place, *camera_and_sender) for place in places]
        await viewers[0].gauge.start()
        # Stock aiortc's may never come.
        with contextlib.suppress(TimeoutError):
            await viewers[0].watched.until_decoded(1)
        run = Watch(started_at_s=time.time(), changed_at_s=[time.time()])
        async with running(_change(scenario, way.network, run)):
            while (now_s := time.time() - run.started_at_s) < scenario.lasts_s + 1:
                if not run.joined_at_s and 0 < scenario.poor_joins_at_s <= now_s:
                    viewers.append(await _join(stack, rig.poor, *camera_and_sender))
                    run.joined_at_s = time.time()
                    await viewers[-1].gauge.start()
                for one in viewers:
                    one.gauge.count(await one.watched.viewer.stats())
                run.targets.append((time.time(), viewers[0].watched.tally.rate_bps))
                if is_traced:
                    _trace(run, viewers)
                await asyncio.sleep(_COUNT_EVERY_S)
        run.seen = [await one.gauge.read() for one in viewers]
    return run


@dataclass(frozen=True)
class Viewer:
    """One that watches, and what is noted of it."""

    watched: Watched
    gauge: Gauge


async def _join(
    stack: AsyncExitStack,
    way: Way,
    capture: Capture,
    serve: Serve,
    new_sender: Callable[[], Sender],
) -> Viewer:
    entering = watched(
        way.browser, capture, sender=new_sender(), serve_frames=serve, deadline_s=300
    )
    one = await stack.enter_async_context(entering)
    return Viewer(one, Gauge(one.viewer.page))


async def _change(scenario: Scenario, way: Network, run: Watch) -> None:
    """Let the network change when it is to."""
    for change in scenario.changes[1:]:
        await asyncio.sleep(run.started_at_s + change.at_s - time.time())
        run.changed_at_s.append(time.time())
        await way.change(down=change.down, up=change.up)


def _trace(run: Watch, viewers: Sequence[Viewer]) -> None:
    line = [f"{time.time() - run.started_at_s:5.1f} s"]
    for one in viewers:
        tally, latest = one.watched.tally, Seen(counts=one.gauge.seen.counts[-5:])
        if len(latest.counts) > 1:
            line.append(
                f"{tally.rung} {tally.rate_bps / 1000:.0f} kbit/s ({tally.rate_why}), "
                f"received {latest.rate_bps / 1000:.0f}, {latest.frames_per_second:.0f}/s, "
                f"{tally.packets_resent} resent, {tally.keyframes} keyframes"
            )
    print(" | ".join(line), flush=True)


async def measure(
    names: Sequence[str], *, rounds: int, stock_rounds: int, is_traced: bool
) -> list[Figure]:
    """Run the scenarios, ours and stock, and give what came of them."""
    figures = []
    ours_by_name: dict[str, list[Watch]] = {}
    async with rig() as built:
        for name in names:
            scenario = SCENARIOS[name]
            for whose, device, times in (("ours", ours, rounds), ("stock", stock, stock_rounds)):
                runs: list[Watch] = []
                for _ in range(times):
                    runs.append(await play(scenario, built, device, is_traced=is_traced))
                    print(f"{name}, {whose}:", *(one.tell(runs[-1]) for one in scenario.measures))
                figures += [one.figure(name, whose, runs) for one in scenario.measures if runs]
                ours_by_name.setdefault(name, runs)
    return figures + spared(ours_by_name)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS).replace("%", "%%")
    )
    arguments.add_argument("--trace", action="store_true", help="tell what is sent, and why")
    arguments.add_argument("--rounds", type=int, default=ROUNDS, help="of ours; default 3")
    arguments.add_argument("--stock-rounds", type=int, default=STOCK_ROUNDS, help="default 1")
    chosen = arguments.parse_args()
    in_the_table = [name for name, one in SCENARIOS.items() if one.is_in_the_table]
    names = chosen.scenarios or in_the_table
    began_at_s = time.monotonic()
    figures = asyncio.run(
        measure(
            names,
            rounds=chosen.rounds,
            stock_rounds=chosen.stock_rounds,
            is_traced=chosen.trace,
        )
    )
    print(f"\n{time.monotonic() - began_at_s:.0f} s of measuring")
    report("rate", figures, packages=("aiortc", "av"))


if __name__ == "__main__":
    main()

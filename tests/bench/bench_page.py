"""Whether watching costs memory: a page watches for long, and heap, nodes and the agent's size stay.

    python -m tests.bench.bench_page [--minutes 2] [--every-s 10]

Relay and agent are programs of their own, the page is in a real Chromium and shows its live figures,
which is the most that it does. What is in use is taken after a collection of the page's garbage. The
first third, half an hour at most, is warm-up; the ratios are of the medians of the last third and of
as many samples after the warm-up.
"""

import argparse
import asyncio
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import psutil
from playwright.async_api import CDPSession, Page
from playwright.async_api import Error as PlaywrightError

from tests.chromium import chromium
from tests.end_to_end.house import Programs, Watching, page_url
from tests.support import eventually

CAMERA = {
    "CAMAGENT_VIDEO__WIDTH_PX": "320",
    "CAMAGENT_VIDEO__HEIGHT_PX": "240",
    "CAMAGENT_VIDEO__FRAMES_PER_SECOND": "10",
}
LONGEST_WARM_UP_S = 1800.0


@dataclass(frozen=True)
class Sample:
    """What is in use; sizes in kilobytes."""

    heap_kb: int
    nodes: int
    listeners: int
    agent_kb: int
    frames: int


async def measure(duration_s: float, every_s: float) -> list[tuple[float, Sample]]:
    """Watch for so long; give what was in use, by seconds since the first picture."""
    samples: list[tuple[float, Sample]] = []
    with tempfile.TemporaryDirectory() as folder:
        async with Programs(Path(folder), **CAMERA).running() as programs, chromium() as browser:
            person = Watching(await browser.new_page())
            url = page_url(_own_address(), programs.port, valid_for_s=duration_s + 600)
            await eventually(lambda: _opens(person.page, url))
            await person.until_first_frame()
            await person.page.get_by_role("button", name="Figures").click()
            started_at_s = time.monotonic()
            page = await person.page.context.new_cdp_session(person.page)
            await page.send("Performance.enable")
            agent = psutil.Process(programs.agent_pid)
            while (at_s := time.monotonic() - started_at_s) <= duration_s:
                sample = await take(page, agent, await person.frames())
                samples.append((at_s, sample))
                print(f"{at_s:7.0f}{_row(sample)}", flush=True)
                await asyncio.sleep(every_s)
    return samples


async def take(page: CDPSession, agent: psutil.Process, frames: int) -> Sample:
    """Collect the page's garbage and read everything."""
    await page.send("HeapProfiler.collectGarbage")
    metrics = (await page.send("Performance.getMetrics"))["metrics"]
    value = {metric["name"]: metric["value"] for metric in metrics}
    return Sample(
        heap_kb=round(value["JSHeapUsedSize"] / 1000),
        nodes=round(value["Nodes"]),
        listeners=round(value["JSEventListeners"]),
        agent_kb=round(agent.memory_info().rss / 1000),
        frames=frames,
    )


def ratios(samples: Sequence[tuple[float, Sample]], duration_s: float) -> dict[str, float]:
    """Give the end's figures as multiples of those after the warm-up."""
    warm_s = min(duration_s / 3, LONGEST_WARM_UP_S)
    warm = [sample for at_s, sample in samples if at_s >= warm_s]
    count = max(1, len(warm) // 3)
    names = [field.name for field in fields(Sample) if field.name != "frames"]

    def median(name: str, some: Sequence[Sample]) -> float:
        return statistics.median(getattr(sample, name) for sample in some)

    return {name: median(name, warm[-count:]) / median(name, warm[:count]) for name in names}


async def _opens(page: Page, url: str) -> bool:
    try:
        await page.goto(url)
    except PlaywrightError:
        return False
    return True


def _own_address() -> str:
    """Find this machine's own address: media cannot use loopback, which ICE leaves out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def _row(sample: Sample) -> str:
    return "".join(f"{value:>10}" for value in astuple(sample))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="how much memory it takes to watch for long")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--every-s", type=float, default=10.0)
    arguments = parser.parse_args()
    duration_s = 60 * arguments.minutes
    print("seconds" + "".join(f"{field.name:>10}" for field in fields(Sample)))
    samples = asyncio.run(measure(duration_s, arguments.every_s))
    print(f"end / after warm-up, {arguments.minutes:g} min:")
    for name, ratio in ratios(samples, duration_s).items():
        print(f"  {name:<10} {ratio:.3f}")


if __name__ == "__main__":
    main()

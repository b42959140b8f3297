"""How fast the first picture is in Chromium, and what the agent costs while nobody watches.

Runs the demo as a user does: relay, agent with the test picture, and the viewer page.
"""

import asyncio
import contextlib
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
from playwright.async_api import Browser

from tests.bench.report import Figure, report
from tests.chromium import chromium

_ROUNDS = 9
_IDLE_S = 20.0
_PAGE_DEADLINE_MS = 15_000


@contextlib.contextmanager
def demo() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Hold a running demo; give its process, which is the agent's, and the URL it prints."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "camagent",
            "demo",
            "--video.source",
            "synthetic",
            "--log-level",
            "error",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"http://\S+#token=\S+", line):
                yield process, found.group(0)
                break
    finally:
        process.terminate()
        process.wait(timeout=10)


async def _first_frame_ms(browser: Browser, url: str) -> float:
    """Open the page anew; give the milliseconds from the start of the watch to a shown picture."""
    page = await browser.new_page()
    try:
        await page.goto(url)
        video = page.locator("video[data-first-frame-ms]").first
        await video.wait_for(state="attached", timeout=_PAGE_DEADLINE_MS)
        return float(await video.get_attribute("data-first-frame-ms") or "nan")
    finally:
        await page.close()


async def first_frames(url: str) -> tuple[float, list[float]]:
    async with chromium() as browser:
        cold = await _first_frame_ms(browser, url)
        return cold, [await _first_frame_ms(browser, url) for _ in range(_ROUNDS)]


def _idle_share(pid: int) -> float:
    """Give the share of one core that a process uses over a while of nothing to do."""
    process = psutil.Process(pid)
    before, started_s = process.cpu_times(), time.monotonic()
    time.sleep(_IDLE_S)
    after, elapsed_s = process.cpu_times(), time.monotonic() - started_s
    return (after.user + after.system - before.user - before.system) / elapsed_s


def main() -> None:
    with demo() as (process, url):
        idle_percent = 100 * _idle_share(process.pid)
        resident_mb = psutil.Process(process.pid).memory_info().rss / 1e6
        cold_ms, warm_ms = asyncio.run(first_frames(url))
    warm_median_ms = statistics.median(warm_ms)
    print("first picture, camera warm, ms:", " ".join(f"{one:.0f}" for one in warm_ms))
    report(
        "first_light",
        [
            Figure(
                "first picture after the click, camera warm (median)",
                "<= 500",
                round(warm_median_ms),
                "ms",
                warm_median_ms <= 500,
            ),
            Figure(
                "first picture after the click, everything cold",
                "(none set)",
                round(cold_ms),
                "ms",
                met=True,
            ),
            Figure("idle agent", "< 1", round(idle_percent, 2), "% of core", idle_percent < 1),
            Figure("idle agent, resident", "(none set)", round(resident_mb), "MB", met=True),
        ],
        packages=("aiortc", "av", "websockets", "aiohttp"),
    )


if __name__ == "__main__":
    main()

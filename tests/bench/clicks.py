"""How soon Chromium shows the first picture after a click: in an open page, and in a new window.

Each round has a window of its own, and so a page that has never watched anything. In the open page
the list of cameras has stood for a moment when one of them is clicked, as it has for a person. The
window that opens on its camera does so while Chromium still builds the window, on the same cores.
"""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from playwright.async_api import Browser, Page
from websockets.asyncio.client import connect

from tests.bench.report import Figure
from tests.chromium import chromium
from tests.end_to_end.house import DEVICE_ID, Programs, page_url
from tests.support import eventually, reached_by

_ROUNDS = 9
_SIZE = {"CAMAGENT_VIDEO__WIDTH_PX": "1280", "CAMAGENT_VIDEO__HEIGHT_PX": "720"}
_OTHER = "idle-camera"
_LOOK_AT_THE_LIST_S = 1.5
_DEADLINE_MS = 15_000
_HELLO = {"type": "hello", "ts": "2025-01-01T00:00:00.000Z", "payload": {"device_id": _OTHER}}

IN_AN_OPEN_PAGE = "Chromium, from the click in an open page, camera warm"
IN_A_NEW_WINDOW = "Chromium, a new window that opens on its camera, camera warm"


async def clicked() -> dict[str, list[float]]:
    """Give the milliseconds to the first picture of each round, by what was done."""
    taken: dict[str, list[float]] = {IN_AN_OPEN_PAGE: [], IN_A_NEW_WINDOW: []}
    with tempfile.TemporaryDirectory() as folder:
        programs = Programs(Path(folder), others=[_OTHER], **_SIZE)
        async with programs.running(), chromium() as browser:
            await eventually(partial(_is_served, programs.port))
            await _round(browser, programs.port, clicks=False)
            for _ in range(_ROUNDS):
                for name, all_ms in taken.items():
                    is_open = name == IN_AN_OPEN_PAGE
                    all_ms.append(await _round(browser, programs.port, clicks=is_open))
    return taken


def figures(taken: dict[str, list[float]]) -> Iterator[Figure]:
    """Judge what `clicked` gave."""
    for name, all_ms in taken.items():
        reached_ms = median(all_ms)
        yield Figure(name, "< 200", round(reached_ms), "ms", reached_ms < 200)


async def _is_served(port: int) -> bool:
    """Tell whether the relay listens by now."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _round(browser: Browser, port: int, *, clicks: bool) -> float:
    """Watch once in a window of its own; give the milliseconds from the wish to the picture."""
    page = await browser.new_page()
    try:
        if clicks:
            await _click(page, port)
        else:
            await page.goto(page_url(reached_by(), port))
        video = page.locator("video[data-first-frame-ms]").first
        await video.wait_for(state="attached", timeout=_DEADLINE_MS)
        return float(await video.get_attribute("data-first-frame-ms") or "nan")
    finally:
        await page.close()


async def _click(page: Page, port: int) -> None:
    # A page that finds a single device online opens it by itself: another one is there too.
    async with connect(f"ws://127.0.0.1:{port}/ws/device") as other:
        await other.send(json.dumps(_HELLO))
        await other.recv()
        await page.goto(page_url(reached_by(), port, device_id=None))
        button = page.locator(f"button.device[data-device-id={DEVICE_ID}][data-online=true]")
        await button.wait_for(timeout=_DEADLINE_MS)
        await asyncio.sleep(_LOOK_AT_THE_LIST_S)
        await button.click()

"""A real browser for tests and benchmarks."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

PATH = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@asynccontextmanager
async def chromium(path: str = PATH, flags: Sequence[str] = ()) -> AsyncIterator[Browser]:
    """Hold a headless Chromium; `path` may be a script that starts it."""
    async with async_playwright() as playwright:
        args = [*FLAGS, *flags]
        browser = await playwright.chromium.launch(executable_path=path, args=args)
        try:
            yield browser
        finally:
            await browser.close()

"""A browser, pages in it, and a device that does what a test tells it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, expect
from websockets.asyncio.client import ClientConnection, connect

from camagent.signaling.messages import FromDevice, encode
from server_stub.auth import make_token
from server_stub.relay import Relay
from tests.chromium import chromium
from tests.end_to_end.house import DEVICE_ID, SECRET, USER_ID, relay
from tests.support import DEADLINE_S

# What a browser says by itself when a server that is away refuses it, or there is no network.
SERVER_AWAY = (
    "net::ERR_CONNECTION_REFUSED",
    "net::ERR_CONNECTION_RESET",
    "net::ERR_INTERNET_DISCONNECTED",
)

OpenPage = Callable[..., Awaitable[Page]]
OpenDevice = Callable[..., Awaitable["ScriptedDevice"]]

expect.set_options(timeout=DEADLINE_S * 1000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that share the browser share its event loop; all others have their own."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(program: Callable[[str, str], str]) -> AsyncIterator[Browser]:
    """Hold the one headless Chromium of all tests, each of which has profiles of its own in it."""
    program("chromium", "chromium")
    async with chromium() as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[Relay]:
    """Hold a relay with one device and one user who may watch it."""
    async with relay(tmp_path) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def page_for(browser: Browser) -> AsyncIterator[OpenPage]:
    """Open the viewer page of a relay, each time in a browser profile of its own.

    `token` is what the fragment carries: by default a good one, None for none. `before` is a script
    that runs before the page's own; all other names are of playwright's `new_context`. No page may
    complain on its console, which is where a browser reports what the policy of the page forbids.
    """
    complaints: list[str] = []
    async with AsyncExitStack() as contexts:

        async def open_page(
            port: int,
            *,
            token: str | None = "",
            device: str | None = None,
            before: str | None = None,
            **profile: Any,
        ) -> Page:
            # What turns while the page waits would take a core here.
            context = await browser.new_context(**{"reduced_motion": "reduce"} | profile)
            contexts.push_async_callback(context.close)
            page = await context.new_page()
            page.on("console", lambda message: _note(message, complaints))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            if before is not None:
                await page.add_init_script(before)
            await page.clock.install()
            await page.goto(_url(port, good_token() if token == "" else token, device))
            return page

        yield open_page
        # Later a page that is closed while it connects complains, and rightly.
        complained = tuple(complaints)
    assert complained == ()


@pytest_asyncio.fixture(loop_scope="session")
async def device_for() -> AsyncIterator[OpenDevice]:
    """Connect a scripted device to a relay and introduce it."""
    async with AsyncExitStack() as connections:

        async def open_device(port: int, device_id: str = DEVICE_ID) -> ScriptedDevice:
            url = f"ws://127.0.0.1:{port}/ws/device"
            device = ScriptedDevice(await connections.enter_async_context(connect(url)))
            await device.say("hello", device_id=device_id)
            await device.receive("hello_ack")
            return device

        yield open_device


class ScriptedDevice:
    """The device's end of its link; it does nothing by itself."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket

    async def receive(self, kind: str) -> dict[str, Any]:
        """Give the payload of the next message of this type; others are passed over."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message = json.loads(await self._websocket.recv())
                if message["type"] == kind:
                    return dict(message["payload"])

    async def send(self, message: FromDevice) -> None:
        await self._websocket.send(encode(message))

    async def say(self, kind: str, **payload: Any) -> None:
        message = {"type": kind, "ts": "2025-01-01T12:34:56.789Z", "payload": payload}
        await self._websocket.send(json.dumps(message))

    async def close(self) -> None:
        await self._websocket.close()


def good_token(user_id: str = USER_ID, valid_for_s: float = 600) -> str:
    return make_token(SECRET, user_id, valid_for_s)


def _url(port: int, token: str | None, device: str | None) -> str:
    wanted = {"token": token, "device": device}
    fragment = urlencode({name: value for name, value in wanted.items() if value is not None})
    return f"http://127.0.0.1:{port}/#{fragment}"


def _note(message: ConsoleMessage, complaints: list[str]) -> None:
    is_server_away = any(text in message.text for text in SERVER_AWAY)
    if message.type in {"error", "warning"} and not is_server_away:
        complaints.append(message.text)

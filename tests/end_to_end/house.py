"""Relay, agent and page together, as parts of this process or as programs that can be killed."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from playwright.async_api import Browser, Page
from pydantic import SecretStr

from camagent.agent import Agent
from camagent.media.timestamp import read_timestamp
from camagent.settings import Settings, VideoSettings
from server_stub.app import running
from server_stub.auth import make_token
from server_stub.records import SessionRecord
from server_stub.relay import Relay
from server_stub.settings import RelaySettings
from server_stub.store import Store, open_store
from tests.support import DEADLINE_S, eventually
from tests.support import running as task_running

SECRET = "a secret of a throw-away relay, long enough"
DEVICE_ID = "cam"
USER_ID = "user"
SMALL = {"source": "synthetic", "width_px": 640, "height_px": 360, "frames_per_second": 30}


def relay_settings(folder: Path, **changes: Any) -> RelaySettings:
    values: dict[str, Any] = {
        "jwt_secret": SecretStr(SECRET),
        "host": "0.0.0.0",  # noqa: S104 - the page is opened by this machine's own address
        "port": 0,
        "database_url": database_url(folder),
        "_env_file": None,
    }
    return RelaySettings(**(values | changes))


def database_url(folder: Path) -> SecretStr:
    return SecretStr(f"sqlite+aiosqlite:///{folder / 'relay.db'}")


def agent_settings(port: int, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "device_id": DEVICE_ID,
        "server_url": f"ws://127.0.0.1:{port}",
        "first_retry_delay_s": 0.1,
        "longest_retry_delay_s": 0.5,
        "video": VideoSettings.model_validate(SMALL),
        "_env_file": None,
    }
    return Settings(**(values | changes))


def page_url(
    address: str, port: int, *, device_id: str | None = DEVICE_ID, valid_for_s: float = 600
) -> str:
    """Give where to sign in, and to watch a device at once unless it is None."""
    token = make_token(SECRET, USER_ID, valid_for_s)
    wish = "" if device_id is None else f"&device={device_id}"
    return f"http://{address}:{port}/#token={token}{wish}"


@asynccontextmanager
async def relay(folder: Path, **changes: Any) -> AsyncIterator[Relay]:
    """Hold a relay that knows one device and one user who may watch it."""
    async with running(relay_settings(folder, **changes)) as built:
        await built.store.add_device(DEVICE_ID)
        await built.store.grant(USER_ID, DEVICE_ID)
        yield built


@asynccontextmanager
async def agent(port: int, **changes: Any) -> AsyncIterator[Agent]:
    """Hold an agent whose link is up."""
    built = Agent(agent_settings(port, **changes))
    async with task_running(built.run()) as task:
        await asyncio.wait(
            {task, asyncio.ensure_future(built.link.until_active())}, return_when="FIRST_COMPLETED"
        )
        try:
            yield built
        finally:
            built.stop()
            await task


class Programs:
    """Relay and agent as programs of their own, which can be killed as by a power cut.

    The user may also watch the devices in `others`, of which nobody is there by itself. `camera`
    is what the agent's environment has of its own.
    """

    def __init__(self, folder: Path, *, others: Sequence[str] = (), **camera: str) -> None:
        self._folder = folder
        self._device_ids = (DEVICE_ID, *others)
        self._camera = camera
        self._relay: asyncio.subprocess.Process | None = None
        self._agent: asyncio.subprocess.Process | None = None
        self._store: Store | None = None
        self.port = free_port()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Hold both; the relay knows the devices, and one user who may watch them."""
        async with open_store(database_url(self._folder).get_secret_value()) as store:
            for device_id in self._device_ids:
                await store.add_device(device_id)
                await store.grant(USER_ID, device_id)
            self._store = store
            try:
                await self.start_relay()
                await self.start_agent()
                yield self
            finally:
                await self.kill_agent()
                await self.kill_relay()

    @property
    def agent_pid(self) -> int:
        assert self._agent is not None, "it runs"
        return self._agent.pid

    async def kill_relay(self) -> None:
        await _kill(self._relay)

    async def kill_agent(self) -> None:
        await _kill(self._agent)

    async def sessions(self) -> list[SessionRecord]:
        """List what the relay has written down, while both are held."""
        assert self._store is not None, "they are"
        return await self._store.sessions()

    async def start_relay(self) -> None:
        self._relay = await self._start(
            "server_stub",
            "serve",
            CAMAGENT_RELAY_DATABASE_URL=database_url(self._folder).get_secret_value(),
            CAMAGENT_RELAY_JWT_SECRET=SECRET,
            CAMAGENT_RELAY_PORT=str(self.port),
        )

    async def start_agent(self) -> None:
        self._agent = await self._start(
            "camagent",
            CAMAGENT_DEVICE_ID=DEVICE_ID,
            CAMAGENT_SERVER_URL=f"ws://127.0.0.1:{self.port}",
            CAMAGENT_LONGEST_RETRY_DELAY_S="0.5",
            CAMAGENT_VIDEO__SOURCE="synthetic",
            **{"CAMAGENT_VIDEO__WIDTH_PX": "640", "CAMAGENT_VIDEO__HEIGHT_PX": "360"}
            | self._camera,
        )

    async def _start(self, module: str, *words: str, **settings: str) -> asyncio.subprocess.Process:
        with (self._folder / f"{module}.log").open("a") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *words,
                env=os.environ | settings,
                stdout=log,
                stderr=log,
            )


async def _kill(process: asyncio.subprocess.Process | None) -> None:
    if process is None:
        return
    if process.returncode is None:
        process.kill()
    await process.wait()


class Watching:
    """What a person sees on one page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @property
    def video(self) -> Any:
        return self.page.locator("video[data-shown]")

    async def until_first_frame(self) -> None:
        await self.video.wait_for(state="visible", timeout=2000 * DEADLINE_S)

    async def frames(self) -> int:
        """Count the pictures that the shown video decoded."""
        script = "video => video.getVideoPlaybackQuality().totalVideoFrames"
        return int(await self.video.evaluate(script))

    async def until_it_moves(self, more: int = 15) -> None:
        """Wait until the shown video decoded `more` pictures."""
        before = await self.frames()

        async def has_moved() -> bool:
            return await self.frames() >= before + more

        await eventually(has_moved)

    async def captured_at_us(self) -> int:
        """Read the capture time out of the picture that is shown, in microseconds of Unix time."""
        width, height, rgba = await self.video.evaluate(
            """video => {
                const canvas = document.createElement('canvas');
                [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
                const context = canvas.getContext('2d');
                context.drawImage(video, 0, 0);
                const rows = 16;
                const picture = context.getImageData(0, 0, canvas.width, rows);
                return [canvas.width, rows, [...picture.data]];
            }"""
        )
        picture = np.array(rgba, dtype=np.uint8).reshape(height, width, 4)
        return read_timestamp(picture[:, :, 1])

    async def dataset(self, name: str) -> str | None:
        return await self.page.evaluate("name => document.body.dataset[name]", name)

    async def until(self, name: str, value: str, *, deadline_s: float = 2 * DEADLINE_S) -> None:
        async def is_so() -> bool:
            return await self.dataset(name) == value

        await eventually(is_so, deadline_s=deadline_s)

    async def notice(self) -> str:
        """Read what is said above the picture, be it instead of it or beside it."""
        said = self.page.locator("[data-part=notice], [data-part=status-title]")
        return "".join(await said.all_text_contents())

    async def text(self) -> str:
        return str(await self.page.evaluate("() => document.body.innerText"))


@asynccontextmanager
async def watching(
    browser: Browser, address: str, port: int, *, before: str | None = None
) -> AsyncIterator[Watching]:
    """Hold a page that watches the device, in a browser profile of its own.

    `before` is a script that runs before the page's own.
    """
    context = await browser.new_context(viewport={"width": 900, "height": 700})
    page = await context.new_page()
    if before is not None:
        await page.add_init_script(before)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    await page.goto(page_url(address, port))
    try:
        yield Watching(page)
    finally:
        await context.close()
    assert problems == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

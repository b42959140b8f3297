"""The agent as a service on a booted machine, its relay outside, and a person who watches."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from server_stub.relay import Relay
from tests.chromium import chromium
from tests.end_to_end.house import DEVICE_ID, Watching, relay, watching
from tests.rig.machine import RIG_DEVICES, SOURCE, Machine
from tests.support import eventually, until

_ONLINE_DEADLINE_S = 30.0
_ENV = "/etc/camagent/camagent.env"


def install(port: int) -> str:
    """Write the command that a user would type; the check at its end needs the rig's devices too."""
    server = f"--server-url ws://127.0.0.1:{port}"
    return f"{RIG_DEVICES} {SOURCE}/systemd/install.sh --device-id {DEVICE_ID} {server}"


async def until_online(house: Relay) -> None:
    """Wait for the agent's link."""
    await until(lambda: DEVICE_ID in house.devices, deadline_s=_ONLINE_DEADLINE_S)


@asynccontextmanager
async def installed(machine: Machine, folder: Path) -> AsyncIterator[Relay]:
    """Hold a relay that an agent is connected to which was installed for it."""
    async with relay(folder) as house:
        await machine.run(install(house.port))
        await until_online(house)
        yield house


@asynccontextmanager
async def served(machine: Machine, folder: Path) -> AsyncIterator[Relay]:
    """Hold a relay that the machine's agent, installed before, is connected to."""
    async with relay(folder) as house:
        await machine.run(start(house.port))
        await until_online(house)
        yield house


def start(port: int, *, device_id: str = DEVICE_ID) -> str:
    """Write what starts an agent that is installed, with these two settings."""
    values = {"CAMAGENT_DEVICE_ID": device_id, "CAMAGENT_SERVER_URL": f"ws://127.0.0.1:{port}"}
    lines = " ".join(f"-e 's|^{name}=.*|{name}={value}|'" for name, value in values.items())
    return f"sed -i {lines} {_ENV} && systemctl restart camagent"


@asynccontextmanager
async def watched(address: str, house: Relay) -> AsyncIterator[Watching]:
    """Hold a page that shows a picture that moves."""
    async with chromium() as browser, watching(browser, address, house.port) as page:
        await page.until_first_frame()
        await page.until_it_moves()
        yield page


async def until_lost(page: Watching) -> None:
    """Wait until the person is told that there is no picture."""

    async def is_told() -> bool:
        return await page.dataset("failure") not in {None, ""}

    await eventually(is_told, deadline_s=60)


async def until_watched_again(page: Watching, house: Relay, before: int) -> None:
    """Wait until a session beyond the first `before` shows a picture that moves."""

    async def is_another() -> bool:
        return len(await house.store.sessions()) > before

    await eventually(is_another, deadline_s=60)
    await page.until("watchState", "streaming", deadline_s=60)
    await page.until_it_moves()

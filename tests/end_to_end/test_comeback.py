"""What a person sees when a way to the camera goes: the page finds another by itself, and says so."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser
from pydantic import SecretStr

from camagent.settings import Settings
from camagent.signaling.link import LinkOptions
from camagent.wiring import link_options
from server_stub.relay import Relay
from tests import nat
from tests.chromium import chromium
from tests.conftest import missing
from tests.coturn import free_ports, running_coturn
from tests.end_to_end.house import Watching, agent, relay, watching
from tests.network import NoNetwork
from tests.support import eventually

SECRET = "shared with the TURN server"
TURN_PORT = 3478
ELSEWHERE = "192.168.7.3"


async def test_a_killed_turn_server_is_replaced_by_another(
    browser: Browser, program: Callable[[str, str], str], own_address: str, tmp_path: Path
) -> None:
    """Mid-stream the only way breaks; a new session takes the other TURN server, unasked."""
    command = [program("turnserver", "coturn")]
    first_port, second_port = free_ports(own_address, 2)
    turn: dict[str, Any] = {"address": own_address, "secret": SECRET}
    urls = tuple(f"turn:{own_address}:{port}?transport=udp" for port in (first_port, second_port))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    async with (
        running_coturn(command, port=first_port, folder=tmp_path / "first", **turn) as first,
        relay(tmp_path, turn_urls=urls, turn_secret=SecretStr(SECRET)) as server,
        agent(server.port, ice_transport_policy="relay"),
        watching(browser, own_address, server.port) as person,
    ):
        await person.until_first_frame()
        await person.until_it_moves()
        async with running_coturn(command, port=second_port, folder=tmp_path / "second", **turn):
            await first.kill()
            await until_it_is_back(person, server)


def impatient(settings: Settings) -> LinkOptions:
    """Give options of a link that waits for an answer for two seconds only."""
    return replace(link_options(settings), heartbeat_interval_s=1.0, heartbeat_deadline_s=2.0)


async def test_a_device_with_another_address_is_found(
    program: Callable[[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind its router the device has another address all of a sudden; nobody has to reload."""
    monkeypatch.setattr("camagent.agent.link_options", impatient)
    chromium_path, turnserver = program("chromium", "chromium"), program("turnserver", "coturn")
    turn: dict[str, Any] = {"address": nat.SERVER, "port": TURN_PORT, "secret": SECRET}
    url = f"turn:{nat.SERVER}:{TURN_PORT}?transport=udp"
    try:
        async with (
            nat.world() as world,
            running_coturn(world.internet.command(turnserver), folder=tmp_path, **turn),
            AsyncExitStack() as online,
        ):
            # Who listens stays in the network where it began to.
            with world.internet.entered():
                server = await online.enter_async_context(
                    relay(tmp_path, turn_urls=(url,), turn_secret=SecretStr(SECRET))
                )
            with world.device.entered():
                launcher = world.viewer.launcher(chromium_path, tmp_path)
                address = f"ws://{nat.SERVER}:{server.port}"
                async with (
                    agent(server.port, server_url=address),
                    chromium(str(launcher)) as browser,
                    watching(browser, nat.SERVER, server.port) as person,
                ):
                    await person.until_first_frame()
                    await person.until_it_moves()
                    await nat.move(world.device, nat.DEVICE, ELSEWHERE)
                    await until_it_is_back(person, server)
    except NoNetwork as error:
        missing(f"this machine has no network to test with: {error}")


async def until_it_is_back(person: Watching, server: Relay) -> None:
    """Wait until the page has noticed, and shows another session's picture with a word on it."""
    # A browser that has just started in its network may tell the page of it, which asks anew then.
    before = len(await server.store.sessions())
    await eventually(person.notice, deadline_s=30)

    async def is_told() -> bool:
        return "The picture is back after" in await person.notice()

    await eventually(is_told, deadline_s=60)
    await person.until_it_moves()
    assert await person.dataset("watchState") == "streaming"
    assert len(await server.store.sessions()) > before

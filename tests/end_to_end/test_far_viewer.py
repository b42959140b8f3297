"""Relay and agent on one network, a person's browser on another."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pylibsrtp._binding
import pytest
from structlog.testing import capture_logs

from tests.chromium import chromium
from tests.end_to_end.house import Watching, agent, relay, watching
from tests.network import Faults, Network
from tests.support import eventually, until


@asynccontextmanager
async def far_person(network: Network, chromium_path: str, folder: Path) -> AsyncIterator[Watching]:
    """Hold a page on the viewer's network that watches an agent on the device's."""
    launcher = network.viewer.launcher(chromium_path, folder)
    with network.device.entered():
        async with (
            relay(folder) as server,
            agent(server.port),
            chromium(str(launcher)) as browser,
            watching(browser, network.device.address, server.port) as person,
        ):
            await person.until_first_frame()
            yield person


async def test_a_person_far_away_sees_the_picture(
    network: Network, program: Callable[[str, str], str], tmp_path: Path
) -> None:
    """With packets lost on the way the picture goes on; when none gets through it is still, and is back."""
    path = program("chromium", "chromium")
    with capture_logs() as logs:
        async with far_person(network, path, tmp_path) as person:
            async with network.faulty(down=Faults(loss_percent=3), up=Faults(loss_percent=3)):
                await person.until_it_moves(45)
                await eventually(lambda: has_lost_some(network))
            await person.until_it_moves()
            assert await person.dataset("watchState") == "streaming"
        await until(lambda: any(line["event"] == "session.closed" for line in logs))

    line = next(line for line in logs if line["event"] == "session.closed")
    assert line["pair"].startswith("host/")
    assert "sender.stock" not in {line["event"] for line in logs}


async def has_lost_some(network: Network) -> bool:
    """Tell whether packets to the viewer were dropped; of a few hundred it may be none."""
    down, _ = await network.dropped()
    return down > 0


async def test_a_changed_library_costs_no_picture(
    network: Network,
    program: Callable[[str, str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where encryption in place is not what it was, the agent says so and sends by aiortc's means."""
    monkeypatch.delattr(pylibsrtp._binding, "ffi")
    with capture_logs() as logs:
        async with far_person(network, program("chromium", "chromium"), tmp_path) as person:
            await person.until_it_moves(20)

    (line,) = [line for line in logs if line["event"] == "sender.stock"]
    assert "pylibsrtp has changed" in line["problem"]

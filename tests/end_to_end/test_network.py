"""A viewer whose network changes: what the page does about it while everything else believes in the old.

Packets of the browser's present sockets vanish in the kernel, as after a change from Wi-Fi to cable:
nobody is told, and new sockets work.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from playwright.async_api import Browser

from server_stub.relay import Relay
from tests.conftest import missing
from tests.end_to_end.house import Watching, agent, relay, watching
from tests.support import eventually

# The page keeps its peer connections to itself.
KEEP_CONNECTIONS = """(() => {
  window.connections = [];
  const Real = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(...options) { super(...options); window.connections.push(this); }
  };
})()"""
PORTS = """async () => {
  const report = await window.connections.at(-1).getStats();
  return [...report.values()].filter(({ type }) => type === 'local-candidate').map(({ port }) => port);
}"""


@pytest.fixture
def nft(program: Callable[[str, str], str]) -> str:
    """Find the program that makes packets vanish, or skip."""
    if os.geteuid() != 0:
        missing("only root may filter packets")
    return program("nft", "nftables")


@asynccontextmanager
async def vanishing(nft: str, kind: str, ports: Iterable[int]) -> AsyncIterator[None]:
    """Let every packet to and from these ports vanish while the block runs."""
    table = f"inet camagent-test-{os.getpid()}-{kind}"
    names = ", ".join(map(str, ports))
    rules = (
        f"table {table} {{ chain incoming {{ type filter hook input priority 0;"
        f" {kind} sport {{ {names} }} drop; {kind} dport {{ {names} }} drop; }}; }}"
    )
    await _run(nft, rules)
    try:
        yield
    finally:
        await _run(nft, f"delete table {table}")


async def test_a_change_of_network_moves_the_only_place(
    browser: Browser, nft: str, own_address: str, tmp_path: Path
) -> None:
    """Told of another network, the page is back in seconds, though relay and camera missed it."""
    async with (
        relay(tmp_path) as server,
        agent(server.port, max_viewers=1) as camera,
        watching(browser, own_address, server.port, before=KEEP_CONNECTIONS) as person,
    ):
        ports = await _media_ports(person)
        old = await session_ids(server)
        sockets = _browser_ports(server, own_address)
        assert sockets
        async with vanishing(nft, "udp", ports), vanishing(nft, "tcp", sockets):
            changed_at_s = time.monotonic()
            await person.page.evaluate("() => { dispatchEvent(new Event('online')); }")
            await until_other_session(server, old)
            await person.until("watchState", "streaming")
            await person.until_it_moves()
            # The relay would notice after 30 s at best, the camera after 15.
            assert time.monotonic() - changed_at_s < 14.5
            assert len(server.sessions) == camera.registry.viewer_count == 1
        await eventually(lambda: is_left_for_another(server))


async def test_a_path_that_falls_silent_is_replaced(
    browser: Browser, nft: str, own_address: str, tmp_path: Path
) -> None:
    """Told by nobody, the page notices that no picture comes, says so, and watches anew."""
    async with (
        relay(tmp_path) as server,
        agent(server.port, max_viewers=1) as camera,
        watching(browser, own_address, server.port, before=KEEP_CONNECTIONS) as person,
    ):
        ports = await _media_ports(person)
        old = await session_ids(server)
        async with vanishing(nft, "udp", ports):
            await eventually(person.notice, deadline_s=20)
            await until_other_session(server, old)
            await person.until("watchState", "streaming")
            await person.until_it_moves()
            assert camera.registry.viewer_count == 1
        await eventually(lambda: is_left_for_another(server))


async def test_a_picture_that_goes_on_is_left_in_peace(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """Another network that does not touch the picture costs nobody a session."""
    async with (
        relay(tmp_path) as server,
        agent(server.port),
        watching(browser, own_address, server.port) as person,
    ):
        await person.until_first_frame()
        old = await session_ids(server)
        await person.page.evaluate("() => { dispatchEvent(new Event('online')); }")
        await person.until_it_moves(90)
        assert await session_ids(server) == old


async def _media_ports(person: Watching) -> list[int]:
    """Wait for the picture; give the browser's UDP ports, each of which is a way for it."""
    await person.until_first_frame()
    await person.until_it_moves()
    return list(await person.page.evaluate(PORTS))


def _browser_ports(server: Relay, address: str) -> list[int]:
    """List the ports of the browser's connections to the relay; the agent has come by loopback."""
    connections = psutil.net_connections(kind="tcp")
    here = [one for one in connections if one.raddr and one.raddr[1] == server.port]
    return [one.laddr[1] for one in here if one.laddr[0] == address]


async def session_ids(server: Relay) -> set[str]:
    return {record.session_id for record in await server.store.sessions()}


async def until_other_session(server: Relay, old: set[str]) -> None:
    """Wait until the relay has written down a session that is not an old one."""

    async def is_there() -> bool:
        return bool(await session_ids(server) - old)

    await eventually(is_there, deadline_s=20)


async def is_left_for_another(server: Relay) -> bool:
    """Tell whether the relay has written down that its viewer ended a session, and has another."""
    *_, left_behind, present = await server.store.sessions()
    return (left_behind.reason, present.reason) == ("user_ended", None)


async def _run(nft: str, rules: str) -> None:
    process = await asyncio.create_subprocess_exec(nft, rules)
    assert await process.wait() == 0

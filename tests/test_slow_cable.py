"""A slow cable takes the time, and loses the packets, that it is told to."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from tests import network as networks
from tests.conftest import missing
from tests.network import Faults, Network
from tests.support import until
from tests.test_network import arrived, send_runs, sockets


@pytest.fixture
async def cable() -> AsyncIterator[Network]:
    """Hold two networks joined by a slow cable, or skip."""
    try:
        async with networks.network(is_slow=True) as built:
            yield built
    except networks.NoNetwork as error:
        missing(f"this machine has no network to test with: {error}")


async def delay_s(sending: socket.socket, receiving: socket.socket) -> float:
    """Give the shortest of some packets' ways."""
    took_s = []
    for _ in range(10):
        sent_at_s = time.monotonic()
        sending.send(b"packet")
        await until(lambda: arrived(receiving))
        took_s.append(time.monotonic() - sent_at_s)
    return min(took_s)


@pytest.mark.parametrize("family", [4, 6])
async def test_without_faults_it_is_quick(cable: Network, family: int) -> None:
    """Both families arrive, runs that the kernel cuts into packets as well."""
    packets: list[bytes] = []
    with sockets(cable, family) as (sending, receiving):
        assert await delay_s(sending, receiving) < 0.02
        send_runs(sending, runs=5)
        await until(lambda: packets.extend(arrived(receiving)) or len(packets) == 50)
    assert {len(packet) for packet in packets} == {1_000}


async def test_each_direction_has_its_delay(cable: Network) -> None:
    """Which can be changed, also to none."""
    with sockets(cable, 4) as (sending, receiving):
        sending.settimeout(0)
        back = sending.getsockname()[:2]
        async with cable.faulty(down=Faults(delay_ms=50), up=Faults(delay_ms=150)):
            assert 0.05 <= await delay_s(sending, receiving) < 0.1
            sent_at_s = time.monotonic()
            receiving.sendto(b"answer", back)
            await until(lambda: arrived(sending))
            assert time.monotonic() - sent_at_s >= 0.15
            await cable.change(down=Faults(delay_ms=25))
            assert 0.025 <= await delay_s(sending, receiving) < 0.05
        assert await delay_s(sending, receiving) < 0.02


async def test_packets_keep_their_order(cable: Network) -> None:
    """Those that come once the delay is shorter do not overtake those before them."""
    packets: list[bytes] = []
    with sockets(cable, 4) as (sending, receiving):
        async with cable.faulty(down=Faults(delay_ms=200)):
            sending.send(b"first")
            await cable.change(down=Faults(delay_ms=1))
            sending.send(b"second")
            await until(lambda: packets.extend(arrived(receiving)) or len(packets) == 2)
    assert packets == [b"first", b"second"]


async def survivors(cable: Network, seed: int) -> list[bytes]:
    """Send 200 packets, of which half are lost, and give those that come."""
    packets: list[bytes] = []
    with sockets(cable, 4) as (sending, receiving):
        async with cable.faulty(down=Faults(loss_percent=50, seed=seed, delay_ms=5)):
            for number in range(200):
                sending.send(bytes([number]))
            lost, up = 0, 0
            while len(packets) + lost < 200:
                await asyncio.sleep(0.005)
                packets.extend(arrived(receiving))
                lost, up = await cable.dropped()
            assert (len(packets) + lost, up) == (200, 0)
    return packets


async def test_a_seed_loses_the_same_packets_again(cable: Network) -> None:
    """Another one loses others; all that is lost is counted."""
    first = await survivors(cable, 1)
    assert 60 < len(first) < 140
    assert await survivors(cable, 1) == first
    assert await survivors(cable, 2) != first


async def test_tcp_is_spared(cable: Network) -> None:
    """Only UDP packets are lost, as on any cable of tests."""
    with cable.viewer.entered():
        server = socket.create_server((cable.viewer.address, 0))
    async with cable.faulty(down=Faults(loss_percent=100), up=Faults(loss_percent=100)):
        with cable.device.entered():
            client = socket.create_connection(server.getsockname(), timeout=5)
        with server, client, server.accept()[0] as accepted:
            client.sendall(b"whole")
            accepted.settimeout(5)
            assert accepted.recv(5) == b"whole"


async def test_it_can_be_narrow_as_well(cable: Network) -> None:
    """Packets queue for the rate first, and then are on their way."""
    packets: list[bytes] = []
    with sockets(cable, 4) as (sending, receiving):
        faults = Faults(rate_bps=1_000_000, queue_ms=100, delay_ms=100)
        async with cable.faulty(down=faults):
            started_at_s = time.monotonic()
            for _ in range(40):
                sending.send(bytes(1_000))
            # Each takes 8 ms, of which a busy machine may let some pass meanwhile.
            gone_meanwhile = (time.monotonic() - started_at_s) / 0.008
            await until(lambda: packets.extend(arrived(receiving)) or len(packets) >= 15)
            assert time.monotonic() - started_at_s > 0.14
            await asyncio.sleep(0.2)
            packets.extend(arrived(receiving))
    assert len(packets) < 30 + gone_meanwhile

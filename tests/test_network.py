"""The network that tests of media use has the faults it is said to have."""

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import network as networks
from tests.network import CUT, Faults, Namespace, Network
from tests.support import eventually, until

SEGMENT_BYTES = 1_000
UDP_SEGMENT = 103


@contextmanager
def sockets(network: Network, family: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open one UDP socket at each end, the device's connected to the viewer's."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with network.viewer.entered():
        receiving = socket.socket(kind, socket.SOCK_DGRAM)
    with network.device.entered():
        sending = socket.socket(kind, socket.SOCK_DGRAM)
    with receiving, sending:
        end = network.viewer
        receiving.bind((str(end.ipv4 if family == 4 else end.ipv6), 0))
        receiving.settimeout(0)
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        sending.connect(receiving.getsockname()[:2])
        yield sending, receiving


def send_runs(sending: socket.socket, *, runs: int, segments: int = 10) -> None:
    """Send runs that the kernel cuts into packets, each of which starts with the run's number."""
    size = SEGMENT_BYTES.to_bytes(2, sys.byteorder)
    for number in range(runs):
        data = bytes([number]).ljust(SEGMENT_BYTES, b".") * segments
        sending.sendmsg([data], [(socket.IPPROTO_UDP, UDP_SEGMENT, size)])


def arrived(receiving: socket.socket) -> list[bytes]:
    packets = []
    while True:
        try:
            packets.append(receiving.recv(65_536))
        except BlockingIOError:
            return packets


async def arrive(receiving: socket.socket, count: int) -> list[bytes]:
    """Wait for so many packets; give all that came."""
    packets: list[bytes] = []
    await until(lambda: packets.extend(arrived(receiving)) or len(packets) >= count)
    return packets


@pytest.mark.parametrize("family", [4, 6])
async def test_without_faults_all_arrives(network: Network, family: int) -> None:
    """Both families carry packets from the device to the viewer."""
    with sockets(network, family) as (sending, receiving):
        send_runs(sending, runs=5)

        assert len(await arrive(receiving, 50)) == 50


async def test_loss_hits_single_packets(network: Network) -> None:
    """Of a run sent in one call some packets are lost and others not; the loss is counted."""
    with sockets(network, 4) as (sending, receiving):
        async with network.faulty(down=Faults(loss_percent=50)):
            send_runs(sending, runs=40)
            packets: list[bytes] = []

            async def are_all_accounted_for() -> bool:
                packets.extend(arrived(receiving))
                return len(packets) + (await network.dropped())[0] == 400

            await eventually(are_all_accounted_for)
            assert (await network.dropped())[1] == 0
        send_runs(sending, runs=1)

        assert 100 < len(packets) < 300
        counts = [sum(packet[0] == run for packet in packets) for run in range(40)]
        assert len({count for count in counts if 0 < count < 10}) > 1
        assert len(await arrive(receiving, 10)) == 10, "mended"


async def test_a_cut_cable_carries_nothing(network: Network) -> None:
    """The sender is not told."""
    with sockets(network, 4) as (sending, receiving):
        async with network.faulty(down=CUT):
            send_runs(sending, runs=3)

            assert arrived(receiving) == []


async def test_a_narrow_cable_delays(network: Network) -> None:
    """What does not go through at once waits in the queue, and what the queue lacks room for is lost."""
    with sockets(network, 4) as (sending, receiving):
        async with network.faulty(down=Faults(rate_bps=1_000_000, queue_ms=100)):
            started_at_s = time.monotonic()
            for _ in range(40):
                sending.send(bytes(SEGMENT_BYTES))
            packets = arrived(receiving)
            # Each takes 8 ms, of which a busy machine may let some pass meanwhile.
            gone_meanwhile = (time.monotonic() - started_at_s) / 0.008
            assert len(packets) < 12 + gone_meanwhile

            def has_drained() -> bool:
                packets.extend(arrived(receiving))
                return len(packets) >= 15

            await until(has_drained)
            elapsed_s = time.monotonic() - started_at_s
            await asyncio.sleep(0.1)
            packets.extend(arrived(receiving))

        assert elapsed_s > 0.04
        assert len(packets) < min(30 + gone_meanwhile, 40)


async def test_a_process_starts_at_the_far_end(network: Network) -> None:
    """What is started there has that end's address and no other."""
    script = "import psutil; print(*psutil.net_if_addrs()['cable'], sep='\\n')"
    process = await asyncio.create_subprocess_exec(
        *network.viewer.command(sys.executable, "-c", script), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()

    assert network.viewer.address in output.decode()
    assert network.device.address not in output.decode()


def test_the_way_home_is_found() -> None:
    """Whoever leaves a namespace is where they were, with the interfaces they had."""
    before = socket.if_nameindex()
    end = Namespace(1, (4,))
    try:
        with end.entered():
            assert [name for _, name in socket.if_nameindex()] == ["lo"]
    finally:
        end.close()

    assert socket.if_nameindex() == before


async def test_a_second_viewer_s_cable_has_faults_of_its_own(network: Network) -> None:
    """It ends in the same device's network, and what is wrong with it spares the first one."""
    async with networks.network((4,), device=network.device, cable=1) as other:
        with sockets(network, 4) as (to_one, one), sockets(other, 4) as (to_other, another):
            send_runs(to_other, runs=1)
            assert len(await arrive(another, 10)) == 10
            async with other.faulty(down=CUT):
                send_runs(to_one, runs=2)
                send_runs(to_other, runs=2)
                assert len(await arrive(one, 20)) == 20
                assert arrived(another) == []
            async with other.faulty():
                await other.change(down=CUT)
                send_runs(to_other, runs=2)
                assert arrived(another) == []
            send_runs(to_other, runs=1)
            assert len(await arrive(another, 10)) == 10, "mended"

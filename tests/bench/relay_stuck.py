"""A viewer that reads no more: how soon its device is answered meanwhile, and how soon it is gone."""

import asyncio
import time
from pathlib import Path

from server_stub.auth import make_token
from tests.bench.relay_house import SECRET, USER, House, free_port, relay_command, serving
from tests.bench.relay_load import HEARTBEAT, Peer, connect, frame
from tests.bench.report import Figure

_SIGNALS = 3_000
_REACH_ACK_MS = 50.0
_REACH_GONE_S = 45.0


async def stuck_figures(at: House) -> list[Figure]:
    """Flood a viewer that stopped reading, with the device asking for acks all the while."""
    port = free_port()
    async with serving(relay_command(port), at.environment(), port):
        name = at.device_ids[0]
        device = await connect(port, "device", frame("hello", {"device_id": name}))
        hello = frame("hello", {"token": make_token(SECRET, USER, 3600)})
        viewer = await connect(port, "viewer", hello)
        asked = asyncio.ensure_future(device.next("watch_request"))
        await asyncio.sleep(0)
        viewer.transport.write(frame("watch_request", {"device_id": name}))
        session_id = (await asked)["session_id"]
        local_port = viewer.transport.get_extra_info("sockname")[1]
        viewer.transport.pause_reading()
        started_at_s = time.perf_counter()
        sdp = {"type": "answer", "sdp": "x" * 20_000}
        slowest_ms = await _flood(
            device, frame("signal_answer", {"session_id": session_id, "sdp": sdp})
        )
        while _is_there(port, local_port):
            assert time.perf_counter() - started_at_s < 120, "the stuck viewer stays"
            await asyncio.sleep(0.1)
        gone_s = time.perf_counter() - started_at_s
        device.transport.abort()
        viewer.transport.abort()
    return [
        Figure(
            "device's ack beside a stuck viewer, slowest",
            f"<= {_REACH_ACK_MS:g}",
            round(slowest_ms, 1),
            "ms",
            slowest_ms <= _REACH_ACK_MS,
        ),
        Figure(
            "stuck viewer gone, socket included",
            f"<= {_REACH_GONE_S:g}",
            round(gone_s, 1),
            "s",
            gone_s <= _REACH_GONE_S,
        ),
    ]


async def _flood(device: Peer, signal: bytes) -> float:
    """Send signals with a heartbeat after each; give the slowest ack in milliseconds."""
    slowest_ms = 0.0
    for _ in range(_SIGNALS):
        acked = asyncio.ensure_future(device.next("heartbeat_ack"))
        await asyncio.sleep(0)
        device.transport.write(signal)
        sent_at_s = time.perf_counter()
        device.transport.write(HEARTBEAT)
        await acked
        slowest_ms = max(slowest_ms, 1000 * (time.perf_counter() - sent_at_s))
    return slowest_ms


def _is_there(port: int, peer_port: int) -> bool:
    """Tell whether the kernel still has the relay's end of a connection."""
    ends = f":{port:04X} 0100007F:{peer_port:04X} "
    return any(ends in line for line in Path("/proc/net/tcp").read_text().splitlines())

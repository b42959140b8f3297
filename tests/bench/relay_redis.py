"""Two relays that share Redis: forwards from one to the other, and takeovers that race."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from server_stub.auth import make_token
from tests.bench.relay_house import SECRET, USER, House, free_port, redis, relay_command, serving
from tests.bench.relay_load import Peer, connect, frame
from tests.bench.report import Figure

_ROUNDS = 3
_PAIRS = 20
_RACERS = 40
_RACES = 100
_REACH_P50_MS = 2.0
_REACH_P99_MS = 15.0


async def redis_figures(
    at: House,
    watching: Callable[..., Any],
    forward_ms: Callable[[list[Any]], Awaitable[list[float]]],
) -> list[Figure]:
    """Measure with two relay processes on the server's core, Redis on the other."""
    ports = free_port(), free_port()
    async with redis() as url:
        environment = at.environment() | {"CAMAGENT_RELAY_REDIS_URL": url}
        async with (
            serving(relay_command(ports[0]), environment, ports[0]),
            serving(relay_command(ports[1]), environment, ports[1]),
        ):
            p50_ms, p99_ms = [], []
            for _ in range(_ROUNDS):
                async with watching(ports[0], at.device_ids[:_PAIRS], ports[1]) as pairs:
                    took_ms = await forward_ms(pairs)
                p50_ms.append(took_ms[len(took_ms) // 2])
                p99_ms.append(took_ms[len(took_ms) * 99 // 100])
            lost = await _races(at.device_ids[-_RACERS:], ports)
    return [
        Figure(
            "forward through Redis, p50",
            f"<= {_REACH_P50_MS:g}",
            round(min(p50_ms), 2),
            "ms",
            min(p50_ms) <= _REACH_P50_MS,
        ),
        Figure(
            "forward through Redis, p99",
            f"<= {_REACH_P99_MS:g}",
            round(min(p99_ms), 2),
            "ms",
            min(p99_ms) <= _REACH_P99_MS,
        ),
        Figure(f"presence races, lost of {_RACERS * _RACES:,}", "0", lost, "", lost == 0),
    ]


async def _races(names: list[str], ports: tuple[int, int]) -> int:
    """Let each device come anew on the other relay while its old connection ends; count the lost."""
    hellos = {name: frame("hello", {"device_id": name}) for name in names}
    here = {name: await connect(ports[0], "device", hellos[name]) for name in names}
    lost = 0
    for number in range(1, _RACES + 1):
        port = ports[number % 2]

        async def take_over(name: str, old: Peer, port: int = port) -> Peer:
            coming = asyncio.ensure_future(connect(port, "device", hellos[name]))
            await asyncio.sleep(0.002 * (hash(name) % 3))
            old.transport.abort()
            return await coming

        came = await asyncio.gather(*(take_over(name, old) for name, old in here.items()))
        here = dict(zip(names, came, strict=True))
        await asyncio.sleep(0.1)  # for the ends of the old connections to be through
        online = await _online(ports[(number + 1) % 2])
        lost += len(set(names) - online)
    for peer in here.values():
        peer.transport.abort()
    return lost


async def _online(port: int) -> set[str]:
    """Ask a relay who is online."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    token = make_token(SECRET, USER, 3600)
    writer.write(
        f"GET /api/devices HTTP/1.0\r\nHost: relay\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    listed = json.loads(answer.partition(b"\r\n\r\n")[2])["devices"]
    return {one["device_id"] for one in listed if one["is_online"]}

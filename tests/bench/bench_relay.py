"""What one relay carries on one core, beside a bare echo with the same models in the same run.

The load comes from the other core. Each figure is the best of three rounds, in which relay and echo
take turns. `ARGS` chooses parts: load, stuck, fleet, redis; all of them by default.
"""

import asyncio
import gc
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop

from server_stub.auth import make_token
from tests.bench.relay_fleet import fleet_figures
from tests.bench.relay_house import (
    SECRET,
    USER,
    House,
    Server,
    echo_command,
    free_port,
    house,
    relay_command,
    serving,
    take_the_other_core,
)
from tests.bench.relay_load import (
    Peer,
    beat,
    connect,
    connect_devices,
    devices,
    frame,
    leave,
    race,
)
from tests.bench.relay_redis import redis_figures
from tests.bench.relay_stuck import stuck_figures
from tests.bench.report import Figure, report
from tests.support import until

_ROUNDS = 3
_DEVICES = 5_000
_WARM = 300
_BEATING = 1_500
_BEATS_PER_SECOND = 1_000
_BEAT_FOR_S = 4.0
_RACING = 64
_RACE_FOR_S = 3.0
_IDLE = 2_000
_PAIRS = 20
_SIGNALS_PER_SECOND = 200
_SIGNAL_FOR_S = 6.0
_SIGNAL_BYTES = 3_000
_PARTS = ("load", "stuck", "fleet", "redis")


@dataclass
class Taken:
    """What one server did, round by round."""

    kb_per_connection: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    connects_per_s: list[float] = field(default_factory=list)
    beat_percent: list[float] = field(default_factory=list)
    beats_per_s: list[float] = field(default_factory=list)
    forward_p50_ms: list[float] = field(default_factory=list)
    forward_p99_ms: list[float] = field(default_factory=list)


async def _storm(server: Server, names: list[str], taken: Taken) -> None:
    """Connect everybody at once, see what that takes, and have them leave."""
    before = server.resident_bytes
    peers, elapsed_s = await connect_devices(server.port, names)
    after = server.resident_bytes
    taken.connects_per_s.append(len(names) / elapsed_s)
    if not taken.kb_per_connection:  # later rounds find memory that the first left behind
        taken.kb_per_connection.append((after - before) / 1000 / len(names))
    taken.resident_mb.append(after / 1e6)
    await leave(peers)


async def _beats(server: Server, names: list[str], taken: Taken) -> None:
    async with devices(server.port, names[:_BEATING]) as peers:
        cpu_s = server.cpu_s
        started_at_s = time.perf_counter()
        await beat(peers, per_second=_BEATS_PER_SECOND, for_s=_BEAT_FOR_S)
        elapsed_s = time.perf_counter() - started_at_s
        taken.beat_percent.append(100 * (server.cpu_s - cpu_s) / elapsed_s)
        taken.beats_per_s.append(await race(peers[:_RACING], for_s=_RACE_FOR_S))


@dataclass(frozen=True)
class _Pair:
    """Who sends, who gets it, and what."""

    sender: Peer
    receiver: Peer
    text: bytes


@asynccontextmanager
async def watching(port: int, names: list[str], viewer_port: int) -> AsyncIterator[list[Any]]:
    """Hold a session of each device with a viewer of its own."""
    hello = frame("hello", {"token": make_token(SECRET, USER, 3600)})
    pairs, peers = [], []
    for name in names:
        device = await connect(port, "device", frame("hello", {"device_id": name}))
        viewer = await connect(viewer_port, "viewer", hello)
        peers += [device, viewer]
        asked = asyncio.ensure_future(device.next("watch_request"))
        await asyncio.sleep(0)
        viewer.transport.write(frame("watch_request", {"device_id": name}))
        session_id = (await asked)["session_id"]
        pairs.append(_Pair(device, viewer, _signal(session_id)))
    try:
        yield pairs
    finally:
        await leave(peers)


def _signal(session_id: object) -> bytes:
    sdp = {"type": "answer", "sdp": "x" * _SIGNAL_BYTES}
    return frame("signal_answer", {"session_id": session_id, "sdp": sdp})


async def forward_ms(pairs: list[Any]) -> list[float]:
    """Send one signal after the other; give the milliseconds that each took."""
    took_ms: list[float] = []
    sent_at_s: list[deque[float]] = [deque() for _ in pairs]

    def listen(number: int) -> None:
        def arrived(text: bytes) -> None:
            if b'"signal_answer"' not in text:
                return
            took_ms.append(1000 * (time.perf_counter() - sent_at_s[number].popleft()))

        pairs[number].receiver.on_message = arrived

    for number in range(len(pairs)):
        listen(number)
    started_at_s = time.perf_counter()
    for number in range(round(_SIGNALS_PER_SECOND * _SIGNAL_FOR_S)):
        late_s = started_at_s + number / _SIGNALS_PER_SECOND - time.perf_counter()
        if late_s > 0:
            await asyncio.sleep(late_s)
        pair = number % len(pairs)
        sent_at_s[pair].append(time.perf_counter())
        pairs[pair].sender.transport.write(pairs[pair].text)
    await until(lambda: not any(sent_at_s))
    return sorted(took_ms)


async def _forwards(server: Server, names: list[str], taken: Taken, *, is_echo: bool) -> None:
    async with AsyncExitStack() as held:
        idle = await held.enter_async_context(devices(server.port, names[_PAIRS : _PAIRS + _IDLE]))
        if is_echo:
            peers = await held.enter_async_context(devices(server.port, names[:_PAIRS]))
            pairs = [_Pair(peer, peer, _signal("none")) for peer in peers]
        else:
            pairs = await held.enter_async_context(
                watching(server.port, names[:_PAIRS], server.port)
            )
        beating = asyncio.ensure_future(
            beat(idle, per_second=len(idle) / 30, for_s=_SIGNAL_FOR_S + 1)
        )
        await _forward_once(pairs, taken)
        beating.cancel()
        await asyncio.wait([beating])


async def _forward_once(pairs: list[Any], taken: Taken) -> None:
    took_ms = await forward_ms(pairs)
    taken.forward_p50_ms.append(took_ms[len(took_ms) // 2])
    taken.forward_p99_ms.append(took_ms[len(took_ms) * 99 // 100])


async def _rounds(at: House) -> tuple[Taken, Taken]:
    relay, echo = Taken(), Taken()
    ports = free_port(), free_port()
    async with (
        serving(relay_command(ports[0]), at.environment(), ports[0]) as relay_server,
        serving(echo_command(ports[1]), at.environment(), ports[1]) as echo_server,
    ):
        for server in (relay_server, echo_server):
            async with devices(server.port, at.device_ids[:_WARM]):
                pass
        for _ in range(_ROUNDS):
            for server, taken in ((relay_server, relay), (echo_server, echo)):
                await _storm(server, at.device_ids, taken)
                await _beats(server, at.device_ids, taken)
                await _forwards(server, at.device_ids, taken, is_echo=taken is echo)
    return relay, echo


def _load_figures(relay: Taken, echo: Taken) -> list[Figure]:
    rows: tuple[tuple[str, str, str, float, bool], ...] = (
        ("RSS per device at 5,000", "kb_per_connection", "kB", 20, False),
        ("RSS of the process at 5,000", "resident_mb", "MB", 175, False),
        ("reconnect storm, hello included", "connects_per_s", "/s", 1_500, True),
        ("CPU per 1,000 heartbeats/s", "beat_percent", "% of core", 20, False),
        ("heartbeats at the ceiling", "beats_per_s", "/s", 25_000, True),
        ("forward of 3 kB, 2,000 idle, p50", "forward_p50_ms", "ms", 1, False),
        ("forward of 3 kB, 2,000 idle, p99", "forward_p99_ms", "ms", 10, False),
    )
    figures = []
    for what, name, unit, reach, is_rate in rows:
        # Memory is judged by its worst: it does not come and go with what else the machine does.
        best = max if is_rate or name == "resident_mb" else min
        value, bare = best(getattr(relay, name)), best(getattr(echo, name))
        is_met = value >= reach if is_rate else value <= reach
        sign = ">=" if is_rate else "<="
        figures += [
            Figure(what, f"{sign} {reach:,}", _rounded(value), unit, is_met),
            Figure(
                f"  … of the bare echo{'' if 'forward' not in name else ', back and forth'}",
                "(none set)",
                _rounded(bare),
                unit,
                met=True,
            ),
        ]
    return figures


def _rounded(value: float) -> float:
    return round(value) if value >= 100 else round(value, 2)


async def _measure(parts: set[str]) -> list[Figure]:
    figures: list[Figure] = []
    with house(_DEVICES) as at:
        if "load" in parts:
            relay, echo = await _rounds(at)
            print(relay, echo, sep="\n")
            figures += _load_figures(relay, echo)
        if "stuck" in parts:
            figures += await stuck_figures(at)
        if "fleet" in parts:
            figures += await fleet_figures(at)
        if "redis" in parts:
            figures += await redis_figures(at, watching, forward_ms)
    return figures


def main() -> None:
    parts = set(sys.argv[1:]) or set(_PARTS)
    assert parts <= set(_PARTS), f"parts are {_PARTS}"
    take_the_other_core()
    gc.disable()  # a pause of the load would be taken for one of the server
    figures = uvloop.run(_measure(parts))
    report("relay", figures, packages=("aiohttp", "uvloop", "pydantic", "redis"))


if __name__ == "__main__":
    main()

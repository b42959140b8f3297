"""Many sessions in a row leave nothing behind."""

import asyncio
import gc
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.support import until
from tests.webrtc.test_registry import House, house
from tests.webrtc.viewers import viewer

ROUNDS = 40
WARM_UP = 5


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    tasks: int
    threads: int
    files: int


def footprint() -> Footprint:
    gc.collect()
    return Footprint(
        len(asyncio.all_tasks()),
        threading.active_count(),
        len(list(Path("/proc/self/fd").iterdir())),
    )


async def watch_once(built: House, session_id: str) -> None:
    """See one picture and leave; every second time the viewer hangs up first."""
    async with viewer() as one:
        built.outbox.sent.clear()
        built.request(session_id)
        built.offer(session_id, await one.offer())
        await one.accept(await built.outbox.answer())
        await one.picture()
        if hash(session_id) % 2:
            await one.connection.close()
        else:
            built.end(session_id)
        await until(lambda: session_id not in built.registry._entries)


async def test_many_sessions_leave_nothing_behind() -> None:
    """Tasks, threads and open files are as many after forty sessions as after a few."""
    async with house() as built:
        for number in range(WARM_UP):
            await watch_once(built, f"warm-up {number}")
        await until(lambda: built.registry._camera.state.name == "IDLE")
        before = footprint()

        for number in range(ROUNDS):
            await watch_once(built, f"session {number}")
        await until(lambda: built.registry._camera.state.name == "IDLE")

        await until(lambda: footprint() == before)

"""Two thousand agents whose relay is killed and comes back: how soon, and how evenly, they do."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from camagent.logs import configure_logs
from camagent.signaling.link import Link
from camagent.signaling.messages import DevicePresence, ToDevice
from camagent.signaling.options import LinkOptions
from tests.bench.relay_house import House, answers, free_port, relay_command, serving, start
from tests.bench.report import Figure
from tests.support import until

_AGENTS = 2_000
_AWAY_S = 3.0
_REACH_BACK_S = 60.0
_REACH_PERCENT = 5.0


@dataclass
class Camera:
    """What an agent's link tells about one device."""

    back_at_s: list[float] = field(default_factory=list)
    is_active: bool = False

    def link_active(self) -> None:
        self.is_active = True
        self.back_at_s.append(time.monotonic())

    def link_lost(self) -> None:
        self.is_active = False

    def take(self, message: ToDevice) -> None:
        pass


async def fleet_figures(at: House) -> list[Figure]:
    """Kill a relay with -9 under a fleet, start it again after a while, and count who is back."""
    configure_logs("console", "critical")
    port = free_port()
    cameras = [Camera() for _ in range(_AGENTS)]
    links = [
        Link(
            LinkOptions(url=f"ws://127.0.0.1:{port}/ws/device", device_id=name, stable_after_s=1),
            camera,
            DevicePresence.Payload,
        )
        for name, camera in zip(at.device_ids, cameras, strict=False)
    ]
    running: list[asyncio.Task[None]] = []
    async with serving(relay_command(port), at.environment(), port) as first:
        for number, link in enumerate(links):
            running.append(asyncio.create_task(link.run()))
            if number % 50 == 49:
                await asyncio.sleep(0.1)
        await until(lambda: all(camera.is_active for camera in cameras), deadline_s=120)
        await asyncio.sleep(2)
        first.process.kill()
        killed_at_s = time.monotonic()
    await asyncio.sleep(_AWAY_S)
    process = start(relay_command(port), at.environment())
    try:
        await answers(port)
        up_at_s = time.monotonic()
        await until(lambda: all(camera.is_active for camera in cameras), deadline_s=180)
        await asyncio.sleep(1)
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        process.terminate()
        await asyncio.to_thread(process.wait)
    back_s = sorted(camera.back_at_s[-1] - up_at_s for camera in cameras)
    assert all(camera.back_at_s[-1] > killed_at_s for camera in cameras)
    most = max(Counter(int(one) for one in back_s).values())
    print("back within each second:", dict(sorted(Counter(int(one) for one in back_s).items())))
    percent = 100 * most / _AGENTS
    return [
        Figure(
            f"{_AGENTS:,} agents, relay killed: the last is back",
            f"<= {_REACH_BACK_S:g}",
            round(back_s[-1], 1),
            "s",
            back_s[-1] <= _REACH_BACK_S,
        ),
        Figure(
            "  … in the busiest second",
            f"<= {_REACH_PERCENT:g}",
            round(percent, 1),
            "% of them",
            percent <= _REACH_PERCENT,
        ),
        Figure(
            "  … half of them are back",
            "(none set)",
            round(back_s[len(back_s) // 2], 1),
            "s",
            met=True,
        ),
    ]

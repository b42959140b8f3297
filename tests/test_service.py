"""The agent as systemd and its neighbours see it."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from camagent.notify import Notifier
from camagent.progress import Progress
from camagent.service import Condition, Service, status_line
from camagent.status import AgentStatus, find_status, read_status, write_status
from tests.support import running, until


def condition(**changes: Any) -> Condition:
    values: dict[str, Any] = {
        "is_online": True,
        "problem": None,
        "camera": "live",
        "camera_problem": None,
        "viewers": 2,
        "bytes_encoded": 0,
        "temperature": 52.3,
    }
    return Condition(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "rate", "line"),
    [
        ({}, 1_840_000, "online · 2 viewers · 1.8 Mbps · 52 °C · camera ok"),
        ({"viewers": 1}, 0, "online · 1 viewer · 52 °C · camera ok"),
        (
            {"viewers": 0, "camera": "idle", "temperature": None},
            5e5,
            "online · no viewers · camera ok",
        ),
        ({"is_online": False}, 0, "connecting · 2 viewers · 52 °C · camera ok"),
        (
            {"is_online": False, "problem": "refused", "viewers": 0, "camera": "off"},
            0,
            "offline, retrying: refused · no viewers · 52 °C · camera off",
        ),
        (
            {"camera": "error", "camera_problem": "it is busy", "viewers": 0},
            0,
            "online · no viewers · 52 °C · camera error: it is busy",
        ),
    ],
)
def test_one_line_says_it_all(changes: dict[str, Any], rate: float, line: str) -> None:
    """Server, viewers, rate, temperature and camera, as far as each is known."""
    assert status_line(condition(**changes), bits_per_second=rate) == line


class Manager:
    """systemd's end of the line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heard: list[str] = []
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.bind(str(folder / "notify"))
        self._line.setblocking(False)  # noqa: FBT003 - so it is called

    def listen(self) -> list[str]:
        while True:
            try:
                self.heard.append(self._line.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def statuses(self) -> list[str]:
        return [text.removeprefix("STATUS=") for text in self.listen() if "STATUS=" in text]

    def pings(self) -> int:
        return self.listen().count("WATCHDOG=1")

    def close(self) -> None:
        self._line.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    built = Manager(tmp_path)
    yield built
    built.close()


class House:
    def __init__(self, manager: Manager, watchdog_s: float = 0.9) -> None:
        self.condition = condition()
        self.link, self.camera = Progress(), Progress()
        self.service = Service(
            device_id="cam",
            server_url="ws://a/ws/device",
            parts={"link": self.link, "camera": self.camera},
            describe=lambda: self.condition,
            notifier=Notifier(
                {
                    "NOTIFY_SOCKET": str(manager.folder / "notify"),
                    "WATCHDOG_USEC": str(int(watchdog_s * 1e6)),
                }
            ),
            folder=manager.folder,
        )


async def test_the_watchdog_is_fed_while_every_part_moves(manager: Manager) -> None:
    """Pings come several times within the watchdog's time."""
    house = House(manager)
    async with running(house.service.run()):
        await until(lambda: manager.pings() >= 4)


async def test_a_part_that_is_stuck_starves_the_watchdog(manager: Manager) -> None:
    """No ping comes while one is stuck, one error names it, and pings come again once it moves."""
    house = House(manager)
    house.camera.expect_within(-1000)
    with capture_logs() as events:
        async with running(house.service.run()):
            await until(lambda: "service.stuck" in [event["event"] for event in events])
            house.condition = condition(viewers=3)
            house.service.changed()
            await until(lambda: "3 viewers" in "".join(manager.statuses()))
            assert manager.pings() == 0
            house.camera.expect_nothing()
            await until(lambda: manager.pings() >= 1)

    stuck = [event for event in events if event["event"] == "service.stuck"]
    assert [(event["parts"], event["log_level"]) for event in stuck] == [("camera", "error")]


async def test_a_change_is_told_at_once_and_once(manager: Manager) -> None:
    """The line to systemd and the file say the same, and nothing is said twice."""
    house = House(manager, watchdog_s=600)
    async with running(house.service.run()):
        house.service.ready()
        await until(lambda: len(manager.statuses()) == 1)
        house.condition = condition(viewers=0, temperature=60.0)
        house.service.changed()
        await until(lambda: len(manager.statuses()) == 2)
        house.service.changed()
        await asyncio.sleep(0)
        status = read_status(manager.folder)
    house.service.stopping()

    assert manager.statuses()[:2] == [
        "online · 2 viewers · 52 °C · camera ok",
        "online · no viewers · 60 °C · camera ok",
    ]
    assert {"READY=1", "STOPPING=1"} <= set(manager.heard)
    assert status is not None
    assert (status.device_id, status.pid, status.viewers) == ("cam", os.getpid(), 0)
    assert status.text == "online · no viewers · 60 °C · camera ok"


async def test_the_rate_is_that_of_the_last_moments(manager: Manager) -> None:
    """Bytes that were encoded since the last look become bits per second."""
    house = House(manager, watchdog_s=0.9)
    async with running(house.service.run()):
        await until(lambda: len(manager.statuses()) == 1)
        house.condition = condition(bytes_encoded=10_000_000)
        await until(lambda: "Mbps" in "".join(manager.statuses()))

    found = next(text for text in manager.statuses() if "Mbps" in text)
    # Eighty megabits within a quarter of a second, or a little more on a busy machine.
    assert 5 < float(found.split(" · ")[2].removesuffix(" Mbps")) <= 320


async def test_a_folder_that_is_gone_costs_nobody_anything(manager: Manager) -> None:
    """Without a place for its file the agent goes on."""
    house = House(manager)
    house.service = Service(
        device_id="cam",
        server_url="ws://a",
        parts={},
        describe=lambda: house.condition,
        notifier=Notifier({"NOTIFY_SOCKET": str(manager.folder / "notify")}),
        folder=manager.folder / "none",
    )
    async with running(house.service.run()):
        await until(lambda: manager.pings() >= 1 and manager.statuses())


def test_who_runs_is_found_by_its_device_id(tmp_path: Path) -> None:
    """Of several agents on a machine the one that is meant answers; a dead one does not."""
    for folder, device_id in (("camagent", "front"), ("camagent-back", "back")):
        (tmp_path / folder).mkdir()
        write_status(tmp_path / folder, status(device_id, os.getpid()))
    (tmp_path / "camagent-junk").mkdir()
    (tmp_path / "camagent-junk" / "status.json").write_text("{")

    found = find_status("back", run=tmp_path)
    assert found is not None
    assert found.device_id == "back"
    assert find_status("none", run=tmp_path) is None
    write_status(tmp_path / "camagent", status("front", _NO_PID))
    assert find_status("front", run=tmp_path) is None


# Above the highest that Linux gives out.
_NO_PID = 4_194_304


def status(device_id: str, pid: int) -> AgentStatus:
    return AgentStatus(
        pid=pid,
        device_id=device_id,
        server_url="ws://a",
        is_online=True,
        camera="idle",
        viewers=0,
        text="online",
    )

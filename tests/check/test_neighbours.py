"""What a running agent tells in place of trying."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from camagent.check.findings import Verdict
from camagent.check.neighbours import Instead, ask_running_agent
from camagent.status import AgentStatus, write_status

URL = "ws://relay/ws/device"
NOBODY = 65534


def ask(run: Path, device_id: str = "cam", url: str = URL) -> Instead:
    return ask_running_agent(device_id, server_url=url, run=run)


def tell(run: Path, **changes: Any) -> None:
    """Leave the status of an agent that runs: this process."""
    folder = run / "camagent"
    folder.mkdir(exist_ok=True)
    told: dict[str, Any] = {
        "pid": os.getpid(),
        "device_id": "cam",
        "server_url": URL,
        "is_online": True,
        "camera": "live",
        "viewers": 1,
        "text": "online",
    }
    write_status(folder, AgentStatus(**told | changes))


def test_without_an_agent_all_is_tried(tmp_path: Path) -> None:
    """Nothing runs, or an agent with another name does."""
    assert ask(tmp_path) == Instead()
    tell(tmp_path, device_id="other-cam")
    assert ask(tmp_path) == Instead()


def test_an_agent_at_work_is_left_alone(tmp_path: Path) -> None:
    """It is online and has the camera: both are told of it."""
    tell(tmp_path)
    instead = ask(tmp_path)

    assert instead.hello is not None
    assert instead.camera is not None
    assert (instead.hello.verdict, instead.camera.verdict) == (Verdict.OK, Verdict.OK)
    assert f"pid {os.getpid()}" in instead.hello.text
    assert instead.camera.text.endswith("has it open: live")


def test_a_closed_camera_can_be_tried_beside_the_agent(tmp_path: Path) -> None:
    """Nobody watches, so nobody has it; the hello is the agent's all the same."""
    tell(tmp_path, camera="idle")

    assert ask(tmp_path).camera is None
    assert ask(tmp_path).hello is not None


def test_a_camera_that_is_switched_off_stays_off(tmp_path: Path) -> None:
    """Whoever switched it off means everybody."""
    tell(tmp_path, camera="off")
    camera = ask(tmp_path).camera

    assert camera is not None
    assert camera.verdict is Verdict.SKIPPED


def test_what_ails_the_agent_is_told_with_a_fix(tmp_path: Path) -> None:
    """Its problems are those of the installation."""
    problem = "server rejected this device: Device not found (1008)"
    tell(
        tmp_path, is_online=False, problem=problem, camera="error", camera_problem="no Pi camera 0"
    )
    instead = ask(tmp_path)

    assert instead.hello is not None
    assert instead.camera is not None
    assert (instead.hello.verdict, instead.camera.verdict) == (Verdict.FAILED, Verdict.FAILED)
    assert instead.hello.text.endswith(f"is offline: {problem}")
    assert "CAMAGENT_DEVICE_ID" in str(instead.hello.fix)
    assert "no Pi camera 0" in instead.camera.text


def test_an_agent_that_has_just_started_is_a_warning(tmp_path: Path) -> None:
    """It is not online, and nothing is known to be wrong."""
    tell(tmp_path, is_online=False)
    hello = ask(tmp_path).hello

    assert hello is not None
    assert hello.verdict is Verdict.WARNING


def test_an_agent_with_old_settings_has_to_be_restarted(tmp_path: Path) -> None:
    """The settings name another server than the one it talks to."""
    tell(tmp_path)
    hello = ask(tmp_path, url="wss://new/ws/device").hello

    assert hello is not None
    assert (hello.verdict, hello.fix) == (Verdict.WARNING, "sudo systemctl restart camagent")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that every user may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user without rights while the block runs, if this is root."""
    before = os.geteuid()
    os.seteuid(NOBODY if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)


def test_an_agent_that_may_not_be_asked_is_not_pushed_away(open_folder: Path) -> None:
    """The service's status is for root: anybody else is told to come back with sudo."""
    tell(open_folder)
    (open_folder / "camagent/status.json").chmod(0)
    with nobody():
        instead = ask(open_folder)

    for finding in (instead.camera, instead.hello):
        assert finding is not None
        assert finding.verdict is Verdict.SKIPPED
        assert finding.fix == "run it with sudo: sudo camagent check"

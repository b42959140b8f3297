"""`camagent snapshot` as its user runs it, beside an agent and by itself."""

import asyncio
import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import av
import pytest

from camagent.agent import Agent
from camagent.media.capture_state import CaptureState
from camagent.media.frame import EncodedFrame
from camagent.media.picture import planes_of
from camagent.media.timestamp import read_timestamp
from camagent.settings import Settings
from tests.support import DEADLINE_S, until
from tests.test_program import camagent, finished

# 64 cells of 5 pixels each hold the picture's time.
SIZE = ["--video.width-px=320", "--video.height-px=240"]
SYNTHETIC = ["--device-id=cam", "--server-url=ws://127.0.0.1:9", "--video.source=synthetic", *SIZE]
BESIDE = """
import sys
from pathlib import Path
from camagent.snapshot.command import run_snapshot
sys.exit(run_snapshot(sys.argv[2:], env_file=None, run=Path(sys.argv[1])))
"""


def taken_at_s(jpeg: bytes) -> float:
    """Read when a still of the test picture was drawn, in Unix time."""
    with av.open(io.BytesIO(jpeg), format="jpeg_pipe") as still:
        picture = next(still.decode(video=0))
    assert (picture.width, picture.height) == (320, 240)
    return read_timestamp(planes_of(picture.reformat(format="yuv420p"))[0]) / 1e6


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def snapshot(run: Path, *arguments: str) -> tuple[int | None, bytes, str]:
    """Run the command with services' folders in `run`; give status, output and errors."""
    clean = {name: value for name, value in os.environ.items() if "CAMAGENT_" not in name}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BESIDE, str(run), *arguments),
        env=clean,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(3 * DEADLINE_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, output, errors.decode()


@asynccontextmanager
async def agent_running(run: Path, **changes: object) -> AsyncIterator[Agent]:
    """Run an agent in this process, as a service whose folder is in `run`."""
    folder = run / "camagent"
    folder.mkdir()
    values: dict[str, object] = {
        "device_id": "cam",
        "server_url": "ws://127.0.0.1:9",
        "video": {"source": "synthetic", "width_px": 320, "height_px": 240},
        "_env_file": None,
    }
    agent = Agent(Settings(**(values | changes)), runtime_folder=folder)  # type: ignore[arg-type]
    async with asyncio.timeout(4 * DEADLINE_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(agent.run())
        await until((folder / "status.json").exists)
        await until((folder / "snapshot.sock").exists)
        yield agent
        agent.stop()


class Viewer:
    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []

    def take(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)


async def test_by_itself_it_opens_the_camera_and_closes_it(tmp_path: Path) -> None:
    """The picture is one of now, after a moment for the exposure, and nothing is printed."""
    path = tmp_path / "now.jpg"
    started_at_s = time.time()
    done = await finished("snapshot", str(path), *SYNTHETIC)

    assert done == (0, "", "")
    assert started_at_s + 1 < taken_at_s(path.read_bytes()) < time.time()


async def test_standard_output_gets_the_picture_alone(tmp_path: Path) -> None:
    """What sends it on finds nothing else in it."""
    status, output, errors = await snapshot(tmp_path, "-", *SYNTHETIC)

    assert (status, errors) == (0, "")
    assert taken_at_s(output) < time.time()


async def test_a_camera_that_fails_is_one_line_and_status_1(tmp_path: Path) -> None:
    """What was there before stays."""
    path = tmp_path / "now.jpg"
    path.write_bytes(b"before")
    url = tmp_path / "none.mp4"
    status, output, errors = await finished(
        *("snapshot", str(path), "--device-id=cam", "--server-url=ws://a"),
        *("--video.source=container", f"--video.url={url}"),
    )

    assert (status, output) == (1, "")
    assert errors == f"camagent: {url} cannot be opened: No such file or directory\n"
    assert path.read_bytes() == b"before"
    assert names_in(tmp_path) == [path.name]


async def test_a_kill_switch_holds_for_the_command_too(tmp_path: Path) -> None:
    """While it lies there no picture is taken, with or without an agent."""
    switch = tmp_path / "off"
    switch.touch()
    settings = [*SYNTHETIC, f"--kill-switch-file={switch}"]
    alone = await snapshot(tmp_path, str(tmp_path / "a.jpg"), *settings)
    async with agent_running(tmp_path, kill_switch_file=switch):
        beside = await snapshot(tmp_path, str(tmp_path / "b.jpg"), *settings)

    assert alone == (1, b"", "camagent: the camera is switched off\n")
    problem = "the running agent gives no picture: the camera is switched off"
    assert beside == (1, b"", f"camagent: {problem}\n")
    assert not [name for name in names_in(tmp_path) if name.endswith(".jpg")]


async def test_a_light_is_lit_for_the_picture(tmp_path: Path) -> None:
    """Whoever stands before the camera sees that it looks, and when it ceases to, even if killed."""
    led = tmp_path / "ACT"
    led.mkdir()
    for name, value in (("brightness", "0"), ("max_brightness", "1"), ("trigger", "")):
        (led / name).write_text(value)
    code = """
import signal, sys
from pathlib import Path
from camagent import privacy
from camagent.snapshot import command
run, is_ended = Path(sys.argv[1]), sys.argv[2] == "True"
class NotedLight(privacy.InUseLight):
    def __init__(self, name):
        super().__init__(name, leds=run)
    def show(self, *, is_lit):
        super().show(is_lit=is_lit)
        with (run / "shown").open("a") as shown:
            shown.write((run / "ACT" / "brightness").read_text())
        if is_lit and is_ended:
            signal.raise_signal(signal.SIGTERM)
command.InUseLight = NotedLight
sys.exit(command.run_snapshot(sys.argv[3:], env_file=None, run=run))
"""
    arguments = [str(tmp_path / "now.jpg"), *SYNTHETIC, "--in-use-led=ACT"]
    for is_ended in (False, True):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, str(tmp_path), str(is_ended), *arguments)
        )
        try:
            async with asyncio.timeout(2 * DEADLINE_S):
                status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        assert status == (128 + signal.SIGTERM if is_ended else 0)
        assert "1" in (tmp_path / "shown").read_text()
        (tmp_path / "shown").unlink()
        assert (led / "brightness").read_text() == "0"
        assert [name for name in names_in(tmp_path) if "now" in name] == ["now.jpg"]


async def test_a_running_agent_is_asked_and_its_video_goes_on(tmp_path: Path) -> None:
    """Viewers' goes on as it was, and the picture is one of theirs, not a second camera's."""
    viewer = Viewer()
    path = tmp_path / "now.jpg"
    video = {"source": "synthetic", "width_px": 320, "height_px": 240, "keyframe_interval_s": 60}
    async with agent_running(tmp_path, video=video) as agent:
        with agent.capture.watched(), agent.capture.hub.subscribed(viewer):
            await until(lambda: viewer.frames)
            asked_at_s = time.time()
            done = await snapshot(tmp_path, str(path), *SYNTHETIC)
            answered_at_s = time.time()
            assert agent.capture.restarts == 0
            count = len(viewer.frames)
            await until(lambda: len(viewer.frames) > count + 5)

    assert done == (0, b"", "")
    assert asked_at_s < taken_at_s(path.read_bytes()) < answered_at_s
    # A camera that is opened begins with one.
    assert [frame.is_keyframe for frame in viewer.frames].count(True) == 1


async def test_an_idle_agent_opens_its_camera_for_it(tmp_path: Path) -> None:
    """Afterwards it lingers, as after a viewer."""
    path = tmp_path / "now.jpg"
    async with agent_running(tmp_path) as agent:
        assert agent.capture.state is CaptureState.IDLE
        done = await snapshot(tmp_path, str(path), *SYNTHETIC)
        assert agent.capture.state is CaptureState.LINGERING

    assert done == (0, b"", "")
    assert taken_at_s(path.read_bytes()) < time.time()


async def test_another_devices_agent_is_not_asked(tmp_path: Path) -> None:
    """On a Pi with several cameras the settings say which one is meant."""
    async with agent_running(tmp_path, device_id="door") as agent:
        done = await snapshot(tmp_path, str(tmp_path / "now.jpg"), *SYNTHETIC)
        assert agent.capture.state is CaptureState.IDLE
    assert done == (0, b"", "")


async def test_an_agent_without_a_socket_is_told(tmp_path: Path) -> None:
    """An older version runs, say: no second program goes for its camera."""
    folder = tmp_path / "camagent"
    folder.mkdir()
    status = {"pid": os.getpid(), "device_id": "cam", "server_url": "ws://a", "is_online": True}
    (folder / "status.json").write_text(
        json.dumps(status | {"camera": "live", "viewers": 0, "text": ""})
    )
    done = await snapshot(tmp_path, str(tmp_path / "now.jpg"), *SYNTHETIC)

    assert done[0] == 1
    assert re.fullmatch(
        r"camagent: the running agent does not listen at .*snapshot\.sock.*\n", done[2]
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as somebody else")
async def test_who_may_not_ask_is_told_to_use_sudo(tmp_path: Path) -> None:
    """The service's folder shows that an agent runs, and no more than that."""
    run = Path("/tmp") / f"camagent-test-{os.getpid()}"  # noqa: S108 - pytest's are for root alone
    folder = run / "camagent"
    folder.mkdir(parents=True)
    try:
        (folder / "status.json").write_text("{}")
        (folder / "status.json").chmod(0o600)
        code = BESIDE.replace("sys.exit", "import os; os.setuid(65534); sys.exit")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, str(run), "-", *SYNTHETIC),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
    finally:
        (folder / "status.json").unlink()
        folder.rmdir()
        run.rmdir()

    assert (process.returncode, output) == (1, b"")
    assert errors.decode() == (
        "camagent: an agent runs here, and this user may not ask it: sudo camagent snapshot\n"
    )


async def test_the_command_line_is_checked_first(tmp_path: Path) -> None:
    """FILE comes first; a wrong setting is a wrong setting."""
    assert (await finished("snapshot", *SYNTHETIC, "now.jpg"))[0] == 2
    assert (await finished("snapshot", str(tmp_path / "a.jpg"), "--fly"))[0] == 2
    status, _, errors = await finished("snapshot", str(tmp_path / "a.jpg"), "--max-viewers=0")
    assert status == 78
    assert "CAMAGENT_MAX_VIEWERS=0" in errors
    status, output, _ = await finished("snapshot", "--help")
    assert status == 0
    assert "FILE" in output
    assert not names_in(tmp_path)


async def test_an_agent_started_by_hand_runs_without_a_socket(tmp_path: Path) -> None:
    """Nobody gave it a folder; with one it listens there, and clears up when it is stopped."""
    for folder in (None, tmp_path):
        environment = {} if folder is None else {"RUNTIME_DIRECTORY": str(folder)}
        async with camagent(*SYNTHETIC, **environment) as process, asyncio.timeout(2 * DEADLINE_S):
            assert process.stderr is not None
            while b"link.lost" not in await process.stderr.readline():
                pass
            assert (tmp_path / "snapshot.sock").exists() is (folder is not None)
            process.terminate()
            assert await process.wait() == 0
        assert not (tmp_path / "snapshot.sock").exists()

"""The `camagent` program as its user starts and stops it."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest

from camagent import __version__
from tests.signaling.conftest import ScriptedServer
from tests.support import DEADLINE_S, eventually

SYNTHETIC = ["--video.source", "synthetic", "--video.width-px", "320", "--video.height-px", "240"]


@asynccontextmanager
async def camagent(*arguments: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Hold a running program; it is killed if the test forgot to end it."""
    clean = {name: value for name, value in os.environ.items() if "CAMAGENT_" not in name}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "camagent",
        *arguments,
        env=clean | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def finished(*arguments: str, **settings: str) -> tuple[int | None, str, str]:
    """Run the program to its end; give its status and what it printed."""
    async with camagent(*arguments, **settings) as process, asyncio.timeout(DEADLINE_S * 2):
        output, errors = await process.communicate()
        return process.returncode, output.decode(), errors.decode()


async def test_a_missing_setting_is_one_line_and_status_78() -> None:
    """The start stops with what is missing, and a restart would not help."""
    status, _, errors = await finished(CAMAGENT_SERVER_URL="ws://a")

    assert status == 78
    assert len(errors.splitlines()) == 1
    assert errors.startswith("camagent: CAMAGENT_DEVICE_ID is not set (the name under which")


async def test_everything_wrong_is_told_and_no_secret_is() -> None:
    """Each wrong setting has its line, by its name; what is right and secret stays unsaid."""
    status, output, errors = await finished(
        "--max-viewers=0",
        CAMAGENT_SERVER_URL="http://me:top-secret@relay",
        CAMAGENT_DEVICE_TOKEN="top-secret",
        CAMAGENT_VIDEO__WIDTH_PX="7",
    )

    assert (status, output) == (78, "")
    assert [line.partition("=")[0].partition(" is")[0] for line in errors.splitlines()] == [
        "camagent: CAMAGENT_DEVICE_ID",
        "camagent: CAMAGENT_SERVER_URL",
        "camagent: CAMAGENT_MAX_VIEWERS",
        "camagent: CAMAGENT_VIDEO__WIDTH_PX",
    ]
    assert "top-secret" not in errors


async def test_a_certificate_that_is_none_is_a_wrong_setting(tmp_path: Path) -> None:
    """What only opening the file shows is told like everything else."""
    wrong = tmp_path / "ca.pem"
    wrong.write_text("hello")
    status, _, errors = await finished(
        "--device-id=cam", "--server-url=wss://a", f"--server-ca-file={wrong}", *SYNTHETIC
    )

    assert status == 78
    assert (
        errors == f"camagent: CAMAGENT_SERVER_CA_FILE={wrong}: no certificate in PEM form in it\n"
    )


async def test_auto_without_a_pi_camera_says_what_to_do() -> None:
    """No test picture is shown by surprise: the start stops and names the ways out."""
    if "picamera2" in sys.modules:
        pytest.skip("this machine has picamera2")
    status, _, errors = await finished("--device-id=cam", "--server-url=ws://a")

    assert status == 78
    assert len(errors.splitlines()) == 1
    assert "python3-picamera2" in errors
    assert "synthetic" in errors


async def test_version_and_unknown_commands() -> None:
    """The program names its version, and what it does not know."""
    assert (await finished("--version"))[:2] == (0, f"camagent {__version__}\n")
    status, _, errors = await finished("fly")
    assert status == 2
    assert "no command 'fly'" in errors
    assert "demo" in errors


async def test_help_names_commands_and_options() -> None:
    """Whoever asks learns of the demo, of env files and of every setting."""
    status, output, _ = await finished("--help")

    assert status == 0
    for told in ("demo", "--env-file", "--server-url", "--video.width-px"):
        assert told in output


async def test_an_option_that_does_not_exist_is_refused() -> None:
    """A slip on the command line is no start without it."""
    status, _, errors = await finished("--max-viewer-count", "3", *SYNTHETIC)

    assert status == 2
    assert "--max-viewer-count" in errors


async def test_an_env_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    """A slip in its name is no start with defaults, and a folder is no file."""
    status, _, errors = await finished("--env-file", str(tmp_path / "none.env"))
    assert status == 2
    assert "none.env is missing" in errors

    status, _, errors = await finished(CAMAGENT_ENV_FILE=str(tmp_path))
    assert status == 2
    assert f"{tmp_path} is missing" in errors


async def test_a_name_that_no_setting_has_is_a_warning() -> None:
    """The agent runs, and the log names the setting that was perhaps meant."""
    async with camagent(
        "--device-id=cam", "--server-url=ws://127.0.0.1:9", *SYNTHETIC, CAMAGENT_MAX_VIEWER="3"
    ) as process:
        assert process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            first = (await process.stderr.readline()).decode()
            second = (await process.stderr.readline()).decode()

    assert "settings.unknown" in first
    assert "did_you_mean=CAMAGENT_MAX_VIEWERS" in first
    assert "agent.started" in second


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """The server hears 1001 and the status is 0."""
    server = ScriptedServer()
    async with server.listening():
        env_file = tmp_path / "camagent.env"
        env_file.write_text(
            f"CAMAGENT_DEVICE_ID=cam\nCAMAGENT_SERVER_URL=ws://127.0.0.1:{server.port}\n"
        )
        async with camagent("--env-file", str(env_file), *SYNTHETIC) as process:
            device = await server.accepted()
            assert (await device.welcome())["payload"] == {"device_id": "cam"}
            presence = (await device.receive("device_presence"))["payload"]
            process.send_signal(number)
            await device.websocket.wait_closed()
            async with asyncio.timeout(DEADLINE_S):
                status = await process.wait()

    assert status == 0
    assert device.websocket.close_code == 1001
    assert (presence["camera"], presence["viewers"], presence["recording"]) == ("idle", 0, False)


async def read_url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(4 * DEADLINE_S):
        async for line in process.stdout:
            if found := re.search(r"http://\S+", line.decode()):
                return found.group(0)
    raise AssertionError("the demo printed no URL")


async def is_demo_online(url: str) -> bool:
    """Ask the relay behind a demo's URL for its camera, with the URL's token."""
    found = re.fullmatch(r"(http://[^/]+)/#token=([^&]+)&device=demo-camera", url)
    assert found is not None, url
    headers = {"Authorization": f"Bearer {found.group(2)}"}
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{found.group(1)}/healthz") as answer:
            assert answer.status == 200
        async with session.get(f"{found.group(1)}/api/devices", headers=headers) as answer:
            devices = (await answer.json())["devices"]
    return [(one["device_id"], one["is_online"]) for one in devices] == [("demo-camera", True)]


async def test_the_demo_runs_and_leaves_nothing_behind() -> None:
    """One URL leads to a camera that is online; Ctrl-C ends every process; it works again."""
    for _ in range(2):
        async with camagent("demo", *SYNTHETIC) as process:
            assert await is_demo_online(await read_url(process))
            children = psutil.Process(process.pid).children(recursive=True)
            assert children
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(DEADLINE_S):
                assert await process.wait() == 0

            async def are_gone(left: list[psutil.Process] = children) -> bool:
                return not any(child.is_running() for child in left)

            await eventually(are_gone)


async def test_the_demo_takes_another_port_when_its_own_is_taken() -> None:
    """Something else on port 8000 is no reason not to show anything."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("", 8000))
            taken.listen()
        except OSError:
            pass  # it is taken already
        async with camagent("demo", *SYNTHETIC) as process:
            url = await read_url(process)
            assert ":8000/" not in url
            assert await is_demo_online(url)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


async def test_a_demo_without_its_relay_says_so_and_ends() -> None:
    """When the relay is killed, nothing is left to show: status 1, and the reason in the log."""
    async with camagent("demo", *SYNTHETIC) as process:
        await read_url(process)
        (relay,) = psutil.Process(process.pid).children()
        relay.kill()
        async with asyncio.timeout(DEADLINE_S):
            _, errors = await process.communicate()

    assert process.returncode == 1
    assert "the relay stopped" in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_a_demo_with_a_wrong_option_starts_nothing() -> None:
    """Options are looked at before any process is started."""
    status, output, errors = await finished("demo", "--max-viewers=0")

    assert (status, output) == (78, "")
    assert errors.startswith("camagent: CAMAGENT_MAX_VIEWERS=0: ")


ENDS_WITH = """
import atexit, signal, sys
from camagent import __main__ as program
from camagent.errors import CameraError, CameraHung

def close_camera():
    sys.stderr.write("closing the camera\\n")
    if sys.argv[1] == "CameraHung":
        signal.pause()

def fail(_arguments):
    atexit.register(close_camera)
    error = {"CameraHung": CameraHung, "CameraError": CameraError}[sys.argv[1]]
    raise ExceptionGroup("parts", [ExceptionGroup("more", [error("the driver is stuck")])])

program.run_command = fail
program.main()
"""


@pytest.mark.parametrize(("error", "is_closed"), [("CameraHung", False), ("CameraError", True)])
async def test_a_camera_that_hangs_does_not_hold_the_end_up(error: str, is_closed: bool) -> None:
    """Its library would close it when Python ends, and wait for the driver for ever."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENDS_WITH, error, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            _, told = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()

    assert process.returncode == 1
    assert b"the driver is stuck" in told
    assert (b"closing the camera" in told) is is_closed

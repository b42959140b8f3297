"""The whole system on one machine: relay, agent and one URL to open.

The relay is a program of its own here as anywhere else; its database lives in a temporary folder
and its secrets are drawn anew each time.
"""

import asyncio
import importlib.util
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import structlog

from camagent.agent import Agent
from camagent.configuration import read_settings
from camagent.errors import DemoError
from camagent.logs import configure_logs
from camagent.media.picamera import pi_camera_problem
from camagent.settings import Settings

log = structlog.get_logger(__name__)

DEVICE_ID = "demo-camera"
_USER_ID = "demo"
_USUAL_PORT = 8000
_RELAY_START_DEADLINE_S = 30.0
_RELAY_STOP_DEADLINE_S = 5.0


def run_demo(arguments: Sequence[str]) -> None:
    """Run the demo until Ctrl-C; `arguments` are the agent's options.

    Raises:
        DemoError: the relay is not installed, did not start, or stopped.
        SettingsError: an option is wrong.
    """
    if importlib.util.find_spec("aiohttp") is None:
        raise DemoError("the demo needs the relay's packages: pip install 'camagent[server]'")
    port = _free_port()
    settings = read_settings(
        Settings,
        arguments=[f"--device-id={DEVICE_ID}", f"--server-url=ws://127.0.0.1:{port}", *arguments],
        program="camagent demo",
        env_file=None,
    )
    configure_logs(settings.log_format, settings.log_level)
    asyncio.run(_demo(_with_a_picture(settings), port))


def _with_a_picture(settings: Settings) -> Settings:
    """Fall back to the test picture, and say so."""
    if settings.video.source != "auto":
        return settings
    tuning_file = settings.camera.tuning_file
    problem = pi_camera_problem(tuning_file=None if tuning_file is None else str(tuning_file))
    if problem is None:
        return settings
    print(f"No Pi camera to show ({problem}).\nShowing a test picture instead.")
    video = settings.video.model_copy(update={"source": "synthetic"})
    return settings.model_copy(update={"video": video})


async def _demo(settings: Settings, port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="camagent-demo-") as folder:
        environment = _relay_environment(Path(folder), port)
        await _relay_command(environment, "device", "add", DEVICE_ID, "--without-token")
        await _relay_command(environment, "grant", _USER_ID, DEVICE_ID)
        token = await _relay_command(environment, "token", _USER_ID)
        url = f"http://{_own_address()}:{port}/#token={quote(token)}&device={DEVICE_ID}"
        async with _relay_running(environment, port) as relay, asyncio.TaskGroup() as tasks:
            agent = Agent(settings)
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, agent.stop)
            watching = [
                tasks.create_task(_fail_when_it_stops(relay)),
                tasks.create_task(_announce(agent, url)),
            ]
            await agent.run()
            for task in watching:
                task.cancel()


async def _announce(agent: Agent, url: str) -> None:
    await agent.link.until_active()
    print(f"\nOpen this in a browser (Ctrl-C stops):\n\n    {url}\n", flush=True)


def _relay_environment(folder: Path, port: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if "CAMAGENT_" not in name}
    return inherited | {
        "CAMAGENT_RELAY_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'relay.db'}",
        "CAMAGENT_RELAY_JWT_SECRET": secrets.token_urlsafe(48),
        "CAMAGENT_RELAY_PORT": str(port),
        "CAMAGENT_RELAY_DRAIN_S": "0",
        # The agent's log tells the story; the relay speaks up when something is wrong.
        "CAMAGENT_RELAY_LOG_LEVEL": "warning",
    }


async def _relay_command(environment: dict[str, str], *words: str) -> str:
    """Run one command of the relay and give back what it printed."""
    process = await _start_relay(environment, *words, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise DemoError(f"camagent-relay {' '.join(words)} failed with {process.returncode}")
    return output.decode().strip()


async def _start_relay(
    environment: dict[str, str], *words: str, stdout: int | None = None
) -> asyncio.subprocess.Process:
    # In a session of its own: Ctrl-C is for us, and we stop the relay last.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server_stub",
        *words,
        env=environment,
        stdout=stdout,
        start_new_session=True,
    )


@asynccontextmanager
async def _relay_running(
    environment: dict[str, str], port: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Hold a running relay that answers."""
    process = await _start_relay(environment, "serve")
    try:
        await _until_it_answers(process, port)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_RELAY_STOP_DEADLINE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until_it_answers(process: asyncio.subprocess.Process, port: int) -> None:
    try:
        async with asyncio.timeout(_RELAY_START_DEADLINE_S):
            while not await asyncio.to_thread(_is_healthy, port):
                if process.returncode is not None:
                    raise DemoError(f"the relay stopped at once, with {process.returncode}")
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        deadline_s = _RELAY_START_DEADLINE_S
        raise DemoError(f"the relay did not answer within {deadline_s:g} s") from error


async def _fail_when_it_stops(process: asyncio.subprocess.Process) -> None:
    raise DemoError(f"the relay stopped, with {await process.wait()}")


def _is_healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def _free_port() -> int:
    """Take the usual port, or any if that one is taken."""
    for port in (_USUAL_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError("this machine has no free TCP port")


def _own_address() -> str:
    """Find the address that others on the network reach this machine by."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing; it only picks a route.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])

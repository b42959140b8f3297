"""The command `camagent snapshot FILE`: whom it asks for the picture, and what it leaves behind."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from camagent.configuration import read_settings
from camagent.errors import AgentError, CameraError, RestartNeeded, SnapshotError
from camagent.logs import configure_logs
from camagent.privacy import InUseLight
from camagent.settings import Settings
from camagent.snapshot.alone import take_alone
from camagent.snapshot.client import ask_for_picture
from camagent.snapshot.exchange import SOCKET_NAME
from camagent.snapshot.file import STANDARD_OUTPUT, whole_file
from camagent.status import find_agent, is_agent_hidden
from camagent.wiring import choose_source

_PROGRAM = "camagent snapshot"
_FAILED, _INTERRUPTED, _TERMINATED = 1, 128 + signal.SIGINT, 128 + signal.SIGTERM


def run_snapshot(
    arguments: Sequence[str], *, env_file: Path | None, run: Path = Path("/run")
) -> int:
    """Write a picture of now into the file that `arguments` begin with; give the exit status.

    `run` is where the services' runtime directories are.

    Raises:
        SettingsError: a setting is missing or wrong.
        SystemExit: help was asked for, or an option does not exist.
    """
    name, rest = _parse(arguments)
    settings = read_settings(Settings, arguments=rest, program=_PROGRAM, env_file=env_file)
    # What goes wrong is told below, in one line.
    configure_logs("console", "critical")
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    try:
        asyncio.run(_save(settings, name, run))
    except (CameraError, SnapshotError) as error:
        return _failed(error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except asyncio.CancelledError:
        return _TERMINATED
    return 0


def _parse(arguments: Sequence[str]) -> tuple[str, list[str]]:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} FILE [--env-file FILE] [a setting]...",
        description="Write a picture of now as JPEG: the running agent's, or where none runs the "
        "camera's.",
        epilog="Status 0: FILE is written; 1: it is not, and why; 2: the command line is wrong; "
        "78: a setting is wrong.",
    )
    parser.add_argument("file", metavar="FILE", help="what to write; - is standard output")
    name = next(iter(arguments), "--help")
    if name.startswith("-") and name not in {STANDARD_OUTPUT, "-h", "--help"}:
        parser.error(f"FILE comes first, before {name}")
    return parser.parse_args([name]).file, list(arguments[1:])


def _failed(error: AgentError) -> int:
    sys.stderr.write(f"camagent: {error}\n")
    if isinstance(error, RestartNeeded):
        # Leaving in order would wait for the camera once more.
        sys.stderr.flush()
        os._exit(_FAILED)
    return _FAILED


async def _save(settings: Settings, name: str, run: Path) -> None:
    task = asyncio.current_task()
    assert task is not None
    # So that camera, light and the file beside are left in order.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if name == STANDARD_OUTPUT and sys.stdout.isatty():
        raise SnapshotError("a picture is nothing for a terminal: name a file, or send it on by |")
    with whole_file(name) as file:
        file.write(await _take(settings, run))


async def _take(settings: Settings, run: Path) -> bytes:
    agent = find_agent(settings.device_id, run=run)
    if agent is not None:
        return await ask_for_picture(agent.folder / SOCKET_NAME)
    if is_agent_hidden(run):
        raise SnapshotError(
            "an agent runs here, and this user may not ask it: sudo camagent snapshot"
        )
    return await take_alone(
        choose_source(settings.video, settings.camera, device_id=settings.device_id),
        light=InUseLight(settings.in_use_led) if settings.in_use_led else None,
        kill_switch_file=settings.kill_switch_file,
        stall_after_s=settings.video.stall_after_s,
    )

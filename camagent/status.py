"""What a running agent says of itself to whoever asks on the same machine: one small JSON file.

The file lies in the service's runtime directory, which goes with the service. It holds no secret.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

_NAME = "status.json"
# The runtime directories of camagent.service and of each camagent@….service.
_FOLDERS = "camagent*"


class AgentStatus(BaseModel):
    """How one agent is at the moment.

    Attributes:
        pid: the process that wrote this.
        is_online: the server accepted the hello, and the connection stands.
        problem: why it is not online, as far as that is known.
        camera: the capture's state in a word, as presence reports it.
        text: all of it in one line, as `systemctl status` shows it.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    device_id: str
    server_url: str
    is_online: bool
    problem: str | None = None
    camera: str
    camera_problem: str | None = None
    viewers: int
    text: str


@dataclass(frozen=True)
class RunningAgent:
    """An agent on this machine, and its runtime directory."""

    folder: Path
    status: AgentStatus


def write_status(folder: Path, status: AgentStatus) -> None:
    """Put `status` in place of what was there; a reader sees one or the other, never a half.

    Raises:
        OSError: it cannot be written.
    """
    beside = folder / f".{_NAME}.{os.getpid()}"
    beside.write_text(status.model_dump_json())
    beside.replace(folder / _NAME)


def read_status(folder: Path) -> AgentStatus | None:
    """Read what an agent said last; None if none is running there or none may be heard."""
    try:
        status = AgentStatus.model_validate_json((folder / _NAME).read_bytes())
    except (OSError, ValidationError):
        return None
    return status if psutil.pid_exists(status.pid) else None


def find_status(device_id: str, *, run: Path = Path("/run")) -> AgentStatus | None:
    """Find the running agent that goes by `device_id`, whichever of this machine's services it is."""
    agent = find_agent(device_id, run=run)
    return None if agent is None else agent.status


def find_agent(device_id: str, *, run: Path = Path("/run")) -> RunningAgent | None:
    """Do the same, and tell where it is."""
    for folder in sorted(run.glob(_FOLDERS)):
        status = read_status(folder)
        if status is not None and status.device_id == device_id:
            return RunningAgent(folder, status)
    return None


def is_agent_hidden(run: Path) -> bool:
    """Tell whether an agent runs that this user may not ask how it is."""
    for folder in run.glob(_FOLDERS):
        try:
            with (folder / _NAME).open("rb"):
                pass
        except PermissionError:
            return True
        except OSError:
            continue
    return False

"""An agent with our name that already runs on this machine.

A second hello under the same name would push it off the server, and a camera has one owner at a
time. What such an agent says of itself stands in for trying.
"""

from dataclasses import dataclass
from pathlib import Path

from camagent.check.findings import Finding, Verdict
from camagent.check.server import HELLO, fix_for
from camagent.status import AgentStatus, find_status, is_agent_hidden

CAMERA = "camera"
"""The name of the finding about the camera."""

_WITH_SUDO = "run it with sudo: sudo camagent check"


@dataclass(frozen=True)
class Instead:
    """What need not be tried, for a running agent tells it; None where it has to be tried."""

    camera: Finding | None = None
    hello: Finding | None = None


def ask_running_agent(device_id: str, *, server_url: str, run: Path) -> Instead:
    """Find the agent that goes by `device_id`, if one is at work on this machine.

    `run` is where the services' runtime directories are.
    """
    status = find_status(device_id, run=run)
    if status is not None:
        return Instead(camera=_camera(status), hello=_hello(status, server_url))
    if is_agent_hidden(run):
        text = "an agent runs here, and this user may not ask it how it is"
        return Instead(
            camera=Finding(CAMERA, Verdict.SKIPPED, text, _WITH_SUDO),
            hello=Finding(HELLO, Verdict.SKIPPED, text, _WITH_SUDO),
        )
    return Instead()


def _camera(status: AgentStatus) -> Finding | None:
    agent = f"the running agent (pid {status.pid})"
    match status.camera:
        case "idle":
            return None
        case "off":
            text = f"{agent} keeps it switched off"
            return Finding(CAMERA, Verdict.SKIPPED, text, "see CAMAGENT_KILL_SWITCH_FILE")
        case "error":
            text = f"{agent} cannot use it: {status.camera_problem or 'it does not say why'}"
            fix = "stop it and check again: sudo systemctl stop camagent && sudo camagent check"
            return Finding(CAMERA, Verdict.FAILED, text, fix)
        case word:
            return Finding(CAMERA, Verdict.OK, f"{agent} has it open: {word}")


def _hello(status: AgentStatus, server_url: str) -> Finding:
    agent = f"the running agent (pid {status.pid})"
    if status.server_url != server_url:
        text = f"{agent} was started with another server than the settings now name"
        return Finding(HELLO, Verdict.WARNING, text, "sudo systemctl restart camagent")
    if status.is_online:
        return Finding(HELLO, Verdict.OK, f"{agent} is online as {status.device_id}")
    if status.problem is None:
        text = f"{agent} is not online yet"
        return Finding(HELLO, Verdict.WARNING, text, "check again in a minute")
    text = f"{agent} is offline: {status.problem}"
    fix = fix_for(status.problem, is_encrypted=server_url.startswith("wss:"))
    return Finding(HELLO, Verdict.FAILED, text, fix)

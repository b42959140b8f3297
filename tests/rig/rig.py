"""A Raspberry Pi without a Raspberry Pi, one program at a time: the real picamera2 on a camera of software."""

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

_TESTS = Path(__file__).parents[1]
_INSIDE = "/mnt/host"
_SUPERVISOR = f"{_INSIDE}/supervisor.py"
_FOR_INSIDE = (
    "picamera2_behaviours.py",
    "rig/failures.py",
    "rig/figures.py",
    "rig/scenarios.py",
    "rig/supervisor.py",
)
_PACKAGES = "/opt/camagent-site"
_DEADLINE_S = 120
_CAMERA_LIST = "/usr/local/share/libcamera/pipeline/virtual/virtual.yaml"


class SupervisedAgent:
    """What is known outside of an agent that runs inside."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def log(self) -> str:
        """Give what it and its supervisor wrote."""
        return self._log.read_text()

    @property
    def ends(self) -> list[int]:
        """The exit statuses of those that ended, in order."""
        return [int(status) for status in re.findall("the agent ended with (-?\\d+)", self.log())]

    def count(self, event: str) -> int:
        """Count the log's lines about `event`."""
        return self.log().count(event)


@dataclass(frozen=True)
class Rig:
    """One folder of this machine, seen inside the rig as /mnt/host."""

    script: str
    folder: Path

    @classmethod
    def prepared(cls, script: str, folder: Path) -> Self:
        """Give the rig, with this source tree inside, and what that needs."""
        _install_dependencies(script)
        shutil.copytree(
            _TESTS.parent / "camagent",
            folder / "camagent",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for name in _FOR_INSIDE:
            shutil.copy(_TESTS / name, folder)
        rig = cls(script, folder)
        for name in ("camera-fault", "encoder-fault"):
            (folder / name).write_text("")
        rig.connect_camera(is_connected=True)
        return rig

    def run(
        self,
        scenario: str,
        *,
        platform: str = "vc4",
        encoder_fault: str = "",
        script: str = "scenarios.py",
        deadline_s: float = _DEADLINE_S,
    ) -> Any:
        """Run a function of `script` with the rig's Python; give what it returned."""
        self.set_encoder_fault(encoder_fault)
        self.set_camera_fault("")
        answer = _call(
            [self.script, "python", "-B", f"{_INSIDE}/{script}", scenario],
            deadline_s=deadline_s,
            PI_RIG_BIND=str(self.folder),
            **_environment(platform),
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return json.loads(answer.stdout.splitlines()[-1])

    def connect_camera(self, *, is_connected: bool) -> None:
        """Show the camera to agents that start from now on, or hide it."""
        listed = Path(f"{_root(self.script)}{_CAMERA_LIST}").read_text()
        (self.folder / "cameras").write_text(listed if is_connected else "")

    def set_neighbour(self, *, has_camera: bool) -> None:
        """Let something else have the camera of an agent that starts now, or give it up."""
        neighbour = self.folder / "neighbour"
        if has_camera:
            neighbour.touch()
        else:
            neighbour.unlink()

    def set_camera_fault(self, fault: str) -> None:
        """Let the sensor `stall`, mark its pictures with an `error`, or do neither."""
        (self.folder / "camera-fault").write_text(fault)

    def set_encoder_fault(self, fault: str) -> None:
        """Let the chip's encoder be `enc-absent`, `enc-busy` or `enc-hang`, or work."""
        (self.folder / "encoder-fault").write_text(fault)

    def encoder_controls(self) -> str:
        """Give what was set on the chip's encoder, one line each."""
        return (self.folder / "video11.log").read_text()

    @contextlib.contextmanager
    def agent(self, *options: str, platform: str) -> Iterator[SupervisedAgent]:
        """Hold an agent that runs inside the rig, on this machine's network, as a service does."""
        path = self.folder / "agent.log"
        with path.open("w") as log:
            shell = psutil.Popen(
                [self.script, "python", "-B", _SUPERVISOR, *options],
                env=os.environ | {"PI_RIG_BIND": str(self.folder)} | _environment(platform),
                stdout=log,
                stderr=log,
            )
        try:
            yield SupervisedAgent(path)
        finally:
            for child in shell.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    # Neither those that lead to it nor the agent, which has its word after that.
                    if child.cmdline()[3:4] == [_SUPERVISOR]:
                        child.terminate()
            shell.wait(timeout=_DEADLINE_S)


@functools.cache
def _install_dependencies(script: str) -> None:
    """Install what the agent needs beyond what the rig has, for the rig's own Python."""
    project = tomllib.loads((_TESTS.parent / "pyproject.toml").read_text())["project"]
    pip = [script, "exec", "env", f"PYTHONPATH={_PACKAGES}", "/opt/venv/bin/pip", "install"]
    quietly = ["--quiet", "--disable-pip-version-check"]
    plan = _call([*pip, *quietly, "--dry-run", "--report", "-", *project["dependencies"]])
    assert plan.returncode == 0, plan.stderr
    missing = [
        f"{found['metadata']['name']}=={found['metadata']['version']}"
        for found in json.loads(plan.stdout)["install"]
    ]
    if missing:
        answer = _call([*pip, *quietly, "--no-deps", "--target", _PACKAGES, *missing])
        assert answer.returncode == 0, answer.stderr


@functools.cache
def _root(script: str) -> Path:
    return Path(_call([script, "root"]).stdout.strip())


def _call(
    words: list[str], *, deadline_s: float = _DEADLINE_S, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
    )


def _environment(platform: str) -> dict[str, str]:
    return {
        "RIG_PLATFORM": "pisp" if platform == "pisp" else "",
        "RIG_FAULT": f"{_INSIDE}/encoder-fault",
        "RIG_VIDEO11_LOG": f"{_INSIDE}/video11.log",
        "LIBCAMERA_VIRTUAL_FAULT": f"{_INSIDE}/camera-fault",
        "LIBCAMERA_VIRTUAL_NOISE": "40",
        "PYTHONPATH": f"{_INSIDE}:{_PACKAGES}",
    }

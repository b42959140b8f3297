"""The Raspberry Pi rig: a Debian root with the real picamera2, on a camera made of software.

`PI_RIG` names the rig's script. Without it every test here is skipped, and says so.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.rig.machine import Machine, booted

_HERE = Path(__file__).parent
_INSIDE = "/mnt/host"
_PACKAGES = "/opt/camagent-site"
_DEADLINE_S = 120


@dataclass(frozen=True)
class Rig:
    """One folder of this machine, seen inside the rig as /mnt/host."""

    script: str
    folder: Path

    def run(
        self,
        scenario: str,
        *,
        platform: str = "vc4",
        encoder_fault: str = "",
        script: str = "scenarios.py",
    ) -> Any:
        """Run a function of `script` with the rig's Python; give what it returned."""
        (self.folder / "encoder-fault").write_text(encoder_fault)
        (self.folder / "camera-fault").write_text("")
        answer = self._call(
            ["python", "-B", f"{_INSIDE}/{script}", scenario],
            RIG_PLATFORM="pisp" if platform == "pisp" else "",
            RIG_FAULT=f"{_INSIDE}/encoder-fault",
            RIG_VIDEO11_LOG=f"{_INSIDE}/video11.log",
            LIBCAMERA_VIRTUAL_FAULT=f"{_INSIDE}/camera-fault",
            LIBCAMERA_VIRTUAL_NOISE="40",
            PYTHONPATH=f"{_INSIDE}:{_PACKAGES}",
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return json.loads(answer.stdout.splitlines()[-1])

    def install(self, package: str) -> None:
        """Install a package beside the rig's own, unless it is there."""
        if self._call(["exec", "test", "-d", f"{_PACKAGES}/{package}"]).returncode == 0:
            return
        pip = ["exec", "/opt/venv/bin/pip", "install", "--quiet", "--no-deps"]
        answer = self._call([*pip, "--target", _PACKAGES, package])
        assert answer.returncode == 0, answer.stderr

    def install_agent(self) -> None:
        """Install what the agent needs beyond what the rig has, for the rig's own Python."""
        project = tomllib.loads((_HERE.parents[1] / "pyproject.toml").read_text())["project"]
        pip = ["exec", "env", f"PYTHONPATH={_PACKAGES}", "/opt/venv/bin/pip", "install"]
        quietly = ["--quiet", "--disable-pip-version-check"]
        plan = self._call([*pip, *quietly, "--dry-run", "--report", "-", *project["dependencies"]])
        assert plan.returncode == 0, plan.stderr
        missing = [
            f"{found['metadata']['name']}=={found['metadata']['version']}"
            for found in json.loads(plan.stdout)["install"]
        ]
        if missing:
            answer = self._call([*pip, *quietly, "--no-deps", "--target", _PACKAGES, *missing])
            assert answer.returncode == 0, answer.stderr

    @contextlib.contextmanager
    def agent(self, *options: str, platform: str) -> Iterator[psutil.Process]:
        """Hold an agent that runs inside the rig, on this machine's network."""
        environment = os.environ | {
            "PI_RIG_BIND": str(self.folder),
            "RIG_PLATFORM": "pisp" if platform == "pisp" else "",
            "RIG_VIDEO11_LOG": f"{_INSIDE}/video11.log",
            "LIBCAMERA_VIRTUAL_NOISE": "40",
            "PYTHONPATH": f"{_INSIDE}:{_PACKAGES}",
        }
        with (self.folder / "agent.log").open("w") as log:
            shell = psutil.Popen(
                [self.script, "python", "-B", "-m", "camagent", *options],
                env=environment,
                stdout=log,
                stderr=log,
            )
        try:
            yield shell
        finally:
            for child in shell.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "camagent" in child.cmdline():
                        child.terminate()
            shell.wait(timeout=_DEADLINE_S)

    def encoder_controls(self) -> str:
        """Give what was set on the chip's encoder, one line each."""
        return (self.folder / "video11.log").read_text()

    def _call(self, words: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | settings | {"PI_RIG_BIND": str(self.folder)}
        return subprocess.run(
            [self.script, *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )


@pytest.fixture
def pi_rig() -> str:
    """Give the rig's script."""
    script = os.environ.get("PI_RIG")
    if script is None:
        pytest.skip("PI_RIG is not set: it has to name the script of the Raspberry Pi rig")
    return script


@pytest.fixture
def machine(pi_rig: str, tmp_path: Path) -> Iterator[Machine]:
    """Give a machine that has just booted for the first time, with our sources on its disk."""
    with booted(pi_rig) as built:
        built.become_a_pi()
        built.put_source(tmp_path / "source")
        yield built


@pytest.fixture
def rig(pi_rig: str, tmp_path: Path) -> Rig:
    """Give the rig, with this source tree inside."""
    shutil.copytree(
        _HERE.parents[1] / "camagent",
        tmp_path / "camagent",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(_HERE / "scenarios.py", tmp_path)
    shutil.copy(_HERE.parent / "picamera2_behaviours.py", tmp_path)
    rig = Rig(pi_rig, tmp_path)
    rig.install("structlog")
    return rig

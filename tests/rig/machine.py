"""A booted Raspberry Pi without a Raspberry Pi: systemd as PID 1, and a clean disk at each boot."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = "/srv/camagent"
UNIT = "camagent.service"
_SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "camagent", "server_stub", "systemd")
RIG_DEVICES = "LD_PRELOAD=/usr/local/lib/rigshim.so"
"""Stands in for what the kernel of a Pi has, for whoever opens the camera."""

_DEADLINE_S = 300

# What a Pi has by itself: picamera2 among the system's packages, and a camera behind libcamera.
_PI = """
set -e
echo /opt/venv/lib/python3.13/site-packages > /usr/local/lib/python3.13/dist-packages/rig.pth
mkdir -p /etc/systemd/system/camagent.service.d /srv/fault
: > /srv/fault/camera; : > /srv/fault/encoder; chmod -R a+rX /srv/fault
cat > /etc/systemd/system/camagent.service.d/rig.conf <<END
[Service]
Environment=LD_PRELOAD=/usr/local/lib/rigshim.so LIBCAMERA_LOG_LEVELS=*:ERROR
Environment=LIBCAMERA_VIRTUAL_FAULT=/srv/fault/camera RIG_FAULT=/srv/fault/encoder
Environment=LIBCAMERA_VIRTUAL_NOISE=40
END
"""


class Machine:
    """The booted rig."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._seen = ""

    def sh(self, script: str, *, check: bool = True) -> str:
        """Run a shell script inside; give what it printed, errors included."""
        done = subprocess.run(
            [self._script, "sh", "bash", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
        assert not check or done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}"
        return done.stdout

    async def run(self, script: str, *, check: bool = True) -> str:
        """Run a shell script inside while the event loop goes on."""
        return await asyncio.to_thread(self.sh, script, check=check)

    def put(self, path: Path, folder: str) -> None:
        """Copy a file or folder into a folder inside."""
        subprocess.run([self._script, "put", str(path), folder], check=True, timeout=_DEADLINE_S)

    def put_source(self, scratch: Path, *, version: str | None = None) -> str:
        """Copy this source tree inside, as another version if asked; give where it lies."""
        tree = scratch / "camagent"
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        for name in _SHIPPED:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, tree / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, tree)
        if version is not None:
            init = tree / "camagent/__init__.py"
            text = init.read_text().splitlines(keepends=True)
            init.write_text(
                "".join(
                    f'__version__ = "{version}"\n' if line.startswith("__version__") else line
                    for line in text
                )
            )
        self.sh(f"rm -rf {SOURCE}")
        self.put(tree, str(Path(SOURCE).parent))
        return SOURCE

    def become_a_pi(self) -> None:
        """Give it what Raspberry Pi OS has."""
        self.sh(_PI)

    def property(self, name: str, unit: str = UNIT) -> str:
        """Read one property of a unit as systemd knows it."""
        return self.sh(f"systemctl show -P {name} {unit}").strip()

    def journal(self, *matches: str, unit: str = UNIT) -> list[dict[str, Any]]:
        """Read the unit's entries of the journal, oldest first, those of this service alone."""
        words = " ".join((self._seen, *matches))
        text = self.sh(f"journalctl -u {unit} -o json --no-pager {words}")
        entries = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [entry for entry in entries if entry.get("_SYSTEMD_UNIT") == unit]

    def forget_journal(self) -> None:
        """Leave out of what is read from now on what is in the journal already."""
        cursor = self.sh("journalctl -n 0 --show-cursor").split("cursor: ")[1].strip()
        self._seen = f"--after-cursor='{cursor}'"

    def messages(self, *matches: str) -> list[str]:
        """Read what the journal shows of the unit."""
        return [str(entry["MESSAGE"]) for entry in self.journal(*matches)]


@contextmanager
def booted(script: str) -> Iterator[Machine]:
    """Boot a clean machine on this machine's network, and power it off afterwards."""
    up = subprocess.run(
        [script, "up"],
        env=os.environ | {"HOSTNET": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        yield Machine(script)
    finally:
        subprocess.run([script, "down"], check=True, capture_output=True, timeout=60)

"""This computer: versions, groups, free space, clock."""

import grp
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from camagent.check.findings import Finding, Verdict
from camagent.media.picamera import picamera2_problem

_OLDEST_PYTHON = (3, 11)
_LIBRARIES = ("aiortc", "aioice", "av", "websockets")
_SYSTEM_PACKAGES = ("python3-libcamera",)
_CAMERA_GROUPS = ("video", "render")
_ROOT = 0

_MEGABYTE = 1_000_000
# /run is memory: a Zero 2 W has 80 MB of it in all.
_DISKS_MB = {"/": (200, 20), "/run": (20, 2)}
"""Where space is needed; below the first number is a warning, below the second a failure."""

# A Pi has no clock of its own: without a network it wakes up in the past.
_WRITTEN_AT_S = datetime(2025, 6, 1, tzinfo=UTC).timestamp()
_TIMESYNC = Path("/run/systemd/timesync")
HOW_TO_SET_THE_CLOCK = (
    "wait until the time has come from the network (timedatectl shows it), or set it: "
    "sudo date -s '2026-01-31 12:00'"
)


def check_machine() -> Iterator[Finding]:
    """Look at everything that no setting changes."""
    yield check_python(sys.version_info[:3])
    yield check_libraries(_LIBRARIES)
    yield check_groups(os.geteuid(), in_session=_group_names(os.getgroups()))
    for path, (low_mb, too_low_mb) in _DISKS_MB.items():
        free_mb = shutil.disk_usage(path).free // _MEGABYTE
        yield check_space(path, free_mb=free_mb, low_mb=low_mb, too_low_mb=too_low_mb)
    yield check_clock(time.time(), timesync=_TIMESYNC)


def check_python(version: tuple[int, ...]) -> Finding:
    """Judge the interpreter's version."""
    told = ".".join(map(str, version))
    if version < _OLDEST_PYTHON:
        oldest = ".".join(map(str, _OLDEST_PYTHON))
        fix = f"use Python {oldest} or newer, which Raspberry Pi OS has since bookworm"
        return Finding("python", Verdict.FAILED, f"{told} is too old", fix)
    return Finding("python", Verdict.OK, f"{told} in {sys.prefix}")


def check_libraries(names: tuple[str, ...]) -> Finding:
    """Name the versions of `names` and, where they are, of picamera2 and libcamera."""
    versions = {name: _version(name) for name in names}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        fix = "install camagent again, with everything that it needs"
        return Finding("libraries", Verdict.FAILED, f"missing: {', '.join(missing)}", fix)
    if picamera2_problem() is None:
        versions["picamera2"] = _version("picamera2")
        versions.update(_system_versions())
    told = [f"{name} {version or 'of unknown version'}" for name, version in versions.items()]
    return Finding("libraries", Verdict.OK, ", ".join(told))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _system_versions() -> dict[str, str]:
    """Ask Debian, for libcamera's Python half tells its version to nobody else."""
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *_SYSTEM_PACKAGES]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - nothing in it comes from outside
    except (OSError, subprocess.CalledProcessError):
        return {}
    return dict(line.split(" ", 1) for line in told.splitlines())


def check_groups(
    user_id: int,
    *,
    in_session: frozenset[str],
    wanted: tuple[str, ...] = _CAMERA_GROUPS,
) -> Finding:
    """Tell whether the user may open a camera; groups that this machine lacks do not count."""
    if user_id == _ROOT:
        return Finding("groups", Verdict.OK, "root may open every camera")
    existing = {group.gr_name for group in grp.getgrall()}
    missing = [name for name in wanted if name in existing and name not in in_session]
    if not missing:
        return Finding("groups", Verdict.OK, f"this user is in {' and '.join(wanted)}")
    user = _user_name(user_id)
    fix = f"sudo usermod -aG {','.join(missing)} {user}, then log out and in again"
    text = f"{user} is not in {' and '.join(missing)}, and may not open a Pi camera"
    return Finding("groups", Verdict.WARNING, text, fix)


def _group_names(numbers: list[int]) -> frozenset[str]:
    return frozenset(group.gr_name for group in grp.getgrall() if group.gr_gid in numbers)


def _user_name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"user {user_id}"


def check_space(path: str, *, free_mb: int, low_mb: int, too_low_mb: int) -> Finding:
    """Judge how much room is left at `path`."""
    name, text = f"disk {path}", f"{free_mb} MB free"
    if free_mb >= low_mb:
        return Finding(name, Verdict.OK, text)
    verdict = Verdict.FAILED if free_mb < too_low_mb else Verdict.WARNING
    fix = f"make room; the largest files: sudo du -xh {path} | sort -h | tail"
    return Finding(name, verdict, f"{text}, less than {low_mb} MB", fix)


def check_clock(now_s: float, *, timesync: Path) -> Finding:
    """Tell whether the clock can be right: without it no certificate is valid.

    `timesync` is the folder in which systemd-timesyncd leaves a mark once it has set the time.
    """
    told = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now_s))
    if now_s < _WRITTEN_AT_S:
        text = f"the clock is not set: here it is {told}"
        return Finding("clock", Verdict.FAILED, text, HOW_TO_SET_THE_CLOCK)
    if not timesync.exists():
        reason = "systemd-timesyncd, which would know whether that is right, does not run here"
        return Finding("clock", Verdict.SKIPPED, f"{told}; {reason}")
    if not (timesync / "synchronized").exists():
        text = f"{told}; the time has not come from the network yet"
        return Finding("clock", Verdict.WARNING, text, HOW_TO_SET_THE_CLOCK)
    return Finding("clock", Verdict.OK, f"{told}, from the network")

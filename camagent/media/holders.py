"""Which other programs have a camera, for whoever finds it in use.

Two places tell. `/proc/PID/fd` shows what a program has open, to its own user and to root.
`/proc/locks` shows to everybody, a sandbox included, who holds the lock that libcamera takes on the
media devices of a camera that it opened.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_DEVICES = re.compile(r"/dev/(video|media)\d+")
_PROC, _DEV = Path("/proc"), Path("/dev")
# Of a line of /proc/locks: the kind, the process, and the file as major:minor:inode.
_LOCK = re.compile(r"\d+: POSIX +\S+ +\S+ (\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) ")


def camera_holders(
    device: Path | None = None, *, proc: Path = _PROC, dev: Path = _DEV
) -> list[str]:
    """Name every other program that has `device`, or any camera, as far as this user may see.

    Of those that have a Pi camera's devices open, libcamera lets one use it: if that one is known,
    the others are left out.
    """
    return _look(device, proc, dev).told


def who_holds(device: Path | None = None, *, proc: Path = _PROC, dev: Path = _DEV) -> str:
    """Say in a clause who else has `device`, or any camera, or why that is not known."""
    seen = _look(device, proc, dev)
    if seen.told:
        return "; ".join(seen.told)
    if seen.is_all:
        return "no other program has it open"
    named = device or "/dev/media* /dev/video*"
    return f"who else has it open cannot be seen from here, but by sudo fuser -v {named}"


@dataclass(frozen=True)
class _Seen:
    """What a look showed; without `is_all` there may be more."""

    told: list[str]
    is_all: bool


def _look(device: Path | None, proc: Path, dev: Path) -> _Seen:
    if device is None and (owners := _lock_owners(proc, dev)):
        return _Seen([_told(proc, pid, held) for pid, held in sorted(owners.items())], is_all=True)
    wanted = None if device is None else os.path.realpath(device)
    told = []
    # Where other users' processes are hidden altogether, so is the first one.
    is_all = (proc / "1").exists()
    for folder in sorted(proc.glob("[0-9]*"), key=lambda one: int(one.name)):
        if int(folder.name) == os.getpid():
            continue
        try:
            if held := set(_open_devices(folder / "fd", wanted)):
                told.append(_told(proc, int(folder.name), held))
        except PermissionError:
            is_all = False
        except OSError:
            continue  # gone meanwhile
    return _Seen(told, is_all)


def _told(proc: Path, pid: int, devices: Iterable[str]) -> str:
    name = "a program"
    with contextlib.suppress(OSError):
        name = (proc / str(pid) / "comm").read_text().strip()
    return f"{name} (pid {pid}) has {', '.join(sorted(devices))} open"


def _open_devices(descriptors: Path, wanted: str | None) -> Iterator[str]:
    for descriptor in descriptors.iterdir():
        target = str(descriptor.readlink())
        if target == wanted if wanted is not None else _DEVICES.fullmatch(target):
            yield target


def _lock_owners(proc: Path, dev: Path) -> dict[int, set[str]]:
    """Give the media devices that other processes have locked, by process."""
    files = {}
    for path in dev.glob("media*"):
        with contextlib.suppress(OSError):
            status = path.stat()
            files[os.major(status.st_dev), os.minor(status.st_dev), status.st_ino] = str(path)
    owners: dict[int, set[str]] = {}
    with contextlib.suppress(OSError):
        for pid, major, minor, inode in _LOCK.findall((proc / "locks").read_text()):
            locked = files.get((int(major, 16), int(minor, 16), int(inode)))
            if locked is not None and int(pid) != os.getpid():
                owners.setdefault(int(pid), set()).add(locked)
    return owners

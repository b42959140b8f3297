"""Who else has a camera open, by a made-up /proc and by real processes."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from camagent.media.holders import camera_holders, who_holds

NOBODY = 65534
HOLD = (
    "import fcntl, sys; file = open(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
)
LOCK = HOLD.replace("print", "fcntl.lockf(file, fcntl.LOCK_EX); print")


def process(proc: Path, pid: int, name: str, *targets: str) -> None:
    """Add a process that has `targets` open."""
    descriptors = proc / str(pid) / "fd"
    descriptors.mkdir(parents=True)
    (proc / str(pid) / "comm").write_text(f"{name}\n")
    for number, target in enumerate(targets):
        (descriptors / str(number)).symlink_to(target)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Give a /proc with an init, a shell, a process that is gone while we look, and no process."""
    folder = tmp_path / "proc"
    process(folder, 1, "systemd", "/dev/null")
    process(folder, 9, "bash", "/dev/null", "socket:[12]")
    (folder / "815").mkdir()
    (folder / "net").mkdir()
    return folder


@contextmanager
def child(code: str, path: Path) -> Iterator[int]:
    """Hold a real process that has opened `path`; give its pid."""
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        yield holder.pid
        holder.stdin.close()


def test_whoever_has_a_camera_open_is_named(proc: Path) -> None:
    """By name and process, with the devices; what is no camera does not count."""
    process(proc, 812, "rpicam-vid", "/dev/video0", "/dev/media1", "/dev/media1", "/dev/videos")

    told = "rpicam-vid (pid 812) has /dev/media1, /dev/video0 open"
    assert camera_holders(proc=proc) == [told]
    assert who_holds(proc=proc) == told


def test_only_the_device_that_is_asked_for_counts(proc: Path, tmp_path: Path) -> None:
    """One program's camera is not another's; a device may go by the name of a link."""
    process(proc, 812, "guvcview", "/dev/video0")
    process(proc, 813, "ffmpeg", "/dev/video2")
    (tmp_path / "by-id").symlink_to("/dev/video2")

    told = "ffmpeg (pid 813) has /dev/video2 open"
    assert who_holds(tmp_path / "by-id", proc=proc) == told
    assert who_holds(Path("/dev/video7"), proc=proc) == "no other program has it open"


def test_processes_that_are_hidden_are_no_proof(proc: Path) -> None:
    """A sandbox sees its own processes only: what it does not see may be there."""
    (proc / "1").rename(proc.parent / "hidden")

    assert who_holds(Path("/dev/video0"), proc=proc) == (
        "who else has it open cannot be seen from here, but by sudo fuser -v /dev/video0"
    )
    process(proc, 812, "ffmpeg", "/dev/video0")
    assert who_holds(Path("/dev/video0"), proc=proc) == "ffmpeg (pid 812) has /dev/video0 open"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_other_users_have_open_is_not_said_to_be_nothing() -> None:
    """The real /proc lets nobody look into root's processes."""
    with tempfile.NamedTemporaryFile() as file, child(HOLD, Path(file.name)):
        os.seteuid(NOBODY)
        try:
            told = who_holds(Path(file.name))
        finally:
            os.seteuid(0)
    assert "cannot be seen from here" in told


def test_a_real_process_is_found(tmp_path: Path) -> None:
    """It is this machine's own /proc that is looked into, and left when the process ends."""
    device = tmp_path / "video0"
    device.touch()
    with child(HOLD, device) as pid:
        told = camera_holders(device)
    assert len(told) == 1
    assert told[0].endswith(f" (pid {pid}) has {device} open")
    assert camera_holders(device) == []


def test_libcameras_lock_shows_its_owner_to_everybody(tmp_path: Path) -> None:
    """Even to a sandbox, which sees no other process; who merely has it open is left out."""
    device = tmp_path / "media0"
    device.touch()
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "locks").symlink_to("/proc/locks")
    process(proc, 5, "idle-agent", "/dev/media0")
    with child(LOCK, device) as pid:
        told = who_holds(proc=proc, dev=tmp_path)
    assert told == f"a program (pid {pid}) has {device} open"
    assert who_holds(proc=proc, dev=tmp_path) == "idle-agent (pid 5) has /dev/media0 open"

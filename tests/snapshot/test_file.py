"""What `camagent snapshot` leaves on the disk."""

import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from camagent.errors import CameraError, SnapshotError
from camagent.snapshot.file import whole_file


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_file_is_whole_and_its_mode_is_the_umasks(
    tmp_path: Path, umask: int, mode: int
) -> None:
    """What was there before stays until then, and nothing else is left."""
    path = tmp_path / "now.jpg"
    path.write_bytes(b"before")
    before = os.umask(umask)
    try:
        with whole_file(str(path)) as file:
            file.write(b"picture")
            assert path.read_bytes() == b"before"
    finally:
        os.umask(before)

    assert path.read_bytes() == b"picture"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(tmp_path.iterdir()) == [path]


def test_no_picture_changes_nothing(tmp_path: Path) -> None:
    """A camera that fails leaves the last picture."""
    path = tmp_path / "now.jpg"
    path.write_bytes(b"before")
    with pytest.raises(CameraError), whole_file(str(path)):
        raise CameraError("busy")

    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_found_out_first(tmp_path: Path) -> None:
    """Before any camera is opened, in one sentence."""
    path = tmp_path / "none" / "now.jpg"
    with pytest.raises(SnapshotError) as caught, whole_file(str(path)):
        pytest.fail("the block was entered")
    assert str(caught.value) == f"{path} cannot be written: No such file or directory"

    with pytest.raises(SnapshotError, match="it is a folder"), whole_file(str(tmp_path)):
        pytest.fail("the block was entered")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for it: the kernel refuses in the middle of the write."""
    path = tmp_path / "now.jpg"
    path.write_bytes(b"before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        told = r"now\.jpg cannot be written: File too large"
        with pytest.raises(SnapshotError, match=told), whole_file(str(path)) as file:
            file.write(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """A pipe stays a pipe, and /dev/full tells that it is full."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with whole_file(str(pipe)) as file:
        file.write(b"picture")
    reader.join()
    with pytest.raises(SnapshotError, match="No space left"), whole_file("/dev/full") as file:
        file.write(b"picture")

    assert read == [b"picture"]
    assert pipe.is_fifo()


def test_a_minus_is_standard_output() -> None:
    """The picture and nothing else."""
    code = (
        "from camagent.snapshot.file import whole_file\nwith whole_file('-') as f: f.write(b'a\\0')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"a\0"

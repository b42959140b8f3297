"""A file that is there as a whole or not at all, for whoever looks at it in between."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from camagent.errors import SnapshotError

STANDARD_OUTPUT = "-"


@contextmanager
def whole_file(name: str) -> Iterator[BinaryIO]:
    """Hold a new file that takes the place of `name` when the block ends well.

    Until then it lies beside it. `-` is standard output; that, and what is no ordinary file, such
    as a pipe, is written to directly.

    Raises:
        SnapshotError: it cannot be written.
    """
    try:
        if name == STANDARD_OUTPUT:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif _is_special(Path(name)):
            with Path(name).open("wb") as file:
                yield file
        else:
            with _replacing(Path(name)) as file:
                yield file
    except OSError as error:
        told = "standard output" if name == STANDARD_OUTPUT else name
        raise SnapshotError(f"{told} cannot be written: {error.strerror}") from error


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    if path.is_dir():
        raise IsADirectoryError(0, "it is a folder")
    # Of a name that nobody can lay a link at, should the folder be everybody's.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            # Or a loss of power could leave an empty file under the name.
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)

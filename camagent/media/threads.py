"""A thread that lives exactly as long as a block, and whose failure is the block's."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from camagent.errors import CameraError


@contextmanager
def thread_running(
    work: Callable[[], None], *, stop: Callable[[], None], name: str
) -> Iterator[None]:
    """Run `work` beside the block; at the block's end call `stop` and wait for `work` to return.

    `work` may fail long before that: its stream ends, and whoever misses the frames ends the block.

    Raises:
        CameraError: `work` failed; raised where the block ends.
    """
    failures: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as failure:  # noqa: BLE001 - raised again below, on the owner's thread
            failures.append(failure)

    # A daemon: a call that never returns must not keep the process from ending.
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()
    for failure in failures:
        if isinstance(failure, CameraError):
            raise failure
        raise CameraError(f"the {name} thread failed: {failure!r}") from failure

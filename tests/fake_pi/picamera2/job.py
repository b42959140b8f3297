"""What the camera's thread is asked to do, in the order it was asked."""

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

Step = Callable[[], tuple[bool, Any]]


class Job:
    """Steps that are tried at each picture until each is done."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = list(steps)
        self._future: Future[Any] = Future()
        self._future.set_running_or_notify_cancel()
        self._result: Any = None

    def execute(self) -> bool:
        try:
            while self._steps:
                is_done, self._result = self._steps[0]()
                if not is_done:
                    break
                self._steps.pop(0)
        except Exception as error:  # noqa: BLE001 - whoever waits for the result gets it
            self._future.set_exception(error)
            self._steps = []
        return not self._steps

    def signal(self) -> None:
        if not self._future.done():
            self._future.set_result(self._result)

    def get_result(self, timeout: float | None = None) -> Any:
        return self._future.result(timeout=timeout)

    def cancel(self) -> None:
        self._future.set_exception(CancelledError())

"""The camera's thread, and the questions that it answers between pictures."""

import queue
import threading
import time
from functools import partial
from typing import Any

from picamera2.job import Job, Step
from picamera2.request import CompletedRequest

_POLL_S = 0.2


class EventLoop:
    """The camera's thread, which picamera2 calls a preview."""

    def __init__(self, camera: Any) -> None:
        self.news: queue.Queue[CompletedRequest | None] = queue.Queue()
        self._camera = camera
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="camera")
        self._thread.start()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                fresh = [self.news.get(timeout=_POLL_S)]
            except queue.Empty:
                continue
            while not self.news.empty():
                fresh.append(self.news.get())
            self._camera.process_requests([request for request in fresh if request is not None])

    def stop(self) -> None:
        self._is_stopping.set()
        self._thread.join()


class Captures:
    """Jobs for the camera's thread, done in order: one that waits holds up all behind it."""

    def __init__(self) -> None:
        # Held while pictures are processed, and not re-entrant: callbacks cannot dispatch.
        self.lock = threading.Lock()
        self.completed_requests: list[CompletedRequest] = []
        self._job_list: list[Job] = []
        self._loop: EventLoop | None = None

    def cancel_all_and_flush(self) -> None:
        with self.lock:
            for job in self._job_list:
                job.cancel()
            self._job_list = []

    def run_jobs(self) -> list[Job]:
        """Do what can be done now; called with the lock held. Gives the jobs that are finished."""
        finished = []
        while self._job_list and self._job_list[0].execute():
            finished.append(self._job_list.pop(0))
        return finished

    def dispatch_functions(
        self, steps: list[Step], wait: Any = None, *, immediate: bool = False
    ) -> Any:
        """Run `steps` on the camera's thread; a job whose caller gave up stays in the queue."""
        timeout = None if wait is None or wait is True else wait
        with self.lock:
            is_only = not self._job_list
            job = Job(steps)
            self._job_list.append(job)
            if is_only and (self.completed_requests or immediate) and self._loop is not None:
                self._loop.news.put(None)
        return job if wait is False else job.get_result(timeout)

    def capture_request(self, wait: Any = None, flush: Any = None) -> Any:
        since_ns = time.monotonic_ns() if flush is True else flush
        steps: list[Step] = [partial(self._wait_for, since_ns), self._take]
        return self.dispatch_functions(steps, wait)

    def capture_metadata(self, wait: Any = None) -> Any:
        return self.dispatch_functions([self._take_metadata], wait)

    def _wait_for(self, since_ns: int | None) -> tuple[bool, None]:
        if not since_ns:
            return True, None
        while self.completed_requests:
            metadata = self.completed_requests[0].get_metadata()
            if metadata["SensorTimestamp"] - 1_000 * metadata["ExposureTime"] >= since_ns:
                return True, None
            self.completed_requests.pop(0).release()
        return False, None

    def _take(self) -> tuple[bool, CompletedRequest | None]:
        if not self.completed_requests:
            return False, None
        return True, self.completed_requests.pop(0)

    def _take_metadata(self) -> tuple[bool, dict[str, Any] | None]:
        is_done, request = self._take()
        if request is None:
            return is_done, None
        metadata = request.get_metadata()
        request.release()
        return True, metadata

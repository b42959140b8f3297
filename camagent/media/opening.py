"""One opening of a source, from start to end on a thread of its own.

Opening and closing a camera take long and sometimes for ever: a sensor that stopped can keep its
driver, and so the call, from coming back. Here such a call costs a thread, never the event loop.
"""

import asyncio
import concurrent.futures
import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from camagent.errors import CameraError, CameraHung
from camagent.media.frame import EncodedFrame, Encoding, Publish, Stream, VideoSource
from camagent.media.hub import VideoHub

T = TypeVar("T")
Job = Callable[[Stream], None]


class Opening:
    """Opens a source at once, and hands its frames to `hub` on the event loop.

    Attributes:
        newest_at_s: when the newest frame came, in the loop's time; when opening began before that.
        first_frame: set when the first one comes.
    """

    def __init__(self, source: VideoSource, hub: VideoHub) -> None:
        self._source = source
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._opened: concurrent.futures.Future[Encoding] = _uncancellable()
        self._closed: concurrent.futures.Future[None] = _uncancellable()
        self._leave = threading.Event()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._low = contextlib.ExitStack()
        self._has_hung = False
        self.newest_at_s = self._loop.time()
        self.first_frame = asyncio.Event()
        # Until it is known who makes keyframes: the first one may come before that.
        hub.begin(keeps_group=True)
        # A daemon: a camera that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name=f"opening {source.name}", daemon=True).start()

    async def opened(self, *, deadline_s: float) -> Encoding:
        """Wait until the source is open; give its main rung.

        Raises:
            CameraError: it cannot be opened.
            CameraHung: it is not open after `deadline_s`.
        """
        encoding = await self._wait(self._opened, "opening", deadline_s)
        self.newest_at_s = self._loop.time()
        if encoding.makes_keyframes:
            self._hub.begin(keeps_group=False)
        return encoding

    async def start_low_rung(self, hub: VideoHub, *, deadline_s: float) -> Encoding:
        """Encode the low rung as well, into `hub`.

        Raises:
            CameraError: it cannot be had, or the source is closed.
            CameraHung: it did not start within `deadline_s`.
        """
        publish = self._publisher(hub.publish)
        return await self._call(
            lambda stream: self._low.enter_context(stream.low_rung(publish)), deadline_s
        )

    async def stop_low_rung(self, *, deadline_s: float) -> None:
        """Encode the low rung no more.

        Raises:
            CameraError: it had failed.
            CameraHung: it did not stop within `deadline_s`.
        """
        await self._call(lambda _stream: self._low.close(), deadline_s)

    async def snapshot(self, *, deadline_s: float) -> bytes:
        """Give the next picture as JPEG.

        Raises:
            CameraError: there was none, or the source is closed.
            CameraHung: the call did not come back within `deadline_s`.
        """
        return await self._call(lambda stream: stream.snapshot(), deadline_s)

    async def close(self, *, deadline_s: float) -> None:
        """Close the source, even one that is still being opened; frames cease to come at once.

        Raises:
            CameraError: the source had failed, or failed to close.
            CameraHung: it is not closed after `deadline_s`.
        """
        self._leave.set()
        # Who joins later is not to begin with what is seen now.
        self._hub.begin(keeps_group=False)
        self._jobs.put(None)
        if not self._has_hung:
            await self._wait(self._closed, "closing", deadline_s)

    def _run(self) -> None:
        try:
            with self._source.opened(self._publisher(self._take)) as stream:
                self._opened.set_result(stream.main)
                with self._low:
                    while (job := self._jobs.get()) is not None:
                        job(stream)
        except BaseException as failure:  # noqa: BLE001 - raised again in the task that waits
            unresolved = self._closed if self._opened.done() else self._opened
            unresolved.set_exception(failure)
        if not self._closed.done():
            self._closed.set_result(None)

    def _publisher(self, take: Publish) -> Publish:
        """Make what brings a frame from any thread to the event loop."""

        def take_unless_left(frame: EncodedFrame) -> None:
            if not self._leave.is_set():
                take(frame)

        def publish(frame: EncodedFrame) -> None:
            # RuntimeError: the loop is closed, the process is on its way out.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(take_unless_left, frame)

        return publish

    def _take(self, frame: EncodedFrame) -> None:
        self.newest_at_s = self._loop.time()
        self.first_frame.set()
        self._hub.publish(frame)

    async def _call(self, work: Callable[[Stream], T], deadline_s: float) -> T:
        """Let the source's thread do `work`."""
        done: concurrent.futures.Future[T] = _uncancellable()
        self._jobs.put(partial(_resolve, done, work))
        if self._leave.is_set():
            raise CameraError(f"{self._source.name} is closed")
        return await self._wait(done, "a call into", deadline_s)

    async def _wait(self, future: concurrent.futures.Future[T], what: str, deadline_s: float) -> T:
        waiter = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait([waiter], timeout=deadline_s)
        finally:
            waiter.cancel()
        if not done:
            self._has_hung = True
            raise CameraHung(f"{what} {self._source.name} takes more than {deadline_s:g} s")
        return waiter.result()


def _uncancellable() -> "concurrent.futures.Future[T]":
    """Make a future that stays when somebody ceases to wait: the thread has to go on."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()
    return future


def _resolve(
    done: "concurrent.futures.Future[T]", work: Callable[[Stream], T], stream: Stream
) -> None:
    try:
        done.set_result(work(stream))
    except Exception as failure:  # noqa: BLE001 - raised again in the task that waits
        done.set_exception(failure)

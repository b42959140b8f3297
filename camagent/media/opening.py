"""One opening of a source, from start to end on a thread of its own.

Opening and closing a camera take long and sometimes for ever: a sensor that stopped can keep its
driver, and so the call, from coming back. Here such a call costs a thread, never the event loop.
"""

import asyncio
import concurrent.futures
import contextlib
import threading
from typing import TypeVar

from camagent.errors import CameraHung
from camagent.media.frame import EncodedFrame, Encoding, VideoSource
from camagent.media.hub import VideoHub

T = TypeVar("T")


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
        self._opened: concurrent.futures.Future[Encoding] = concurrent.futures.Future()
        self._closed: concurrent.futures.Future[None] = concurrent.futures.Future()
        for future in (self._opened, self._closed):
            # Running futures cannot be cancelled: who ceases to wait must not stop the thread.
            future.set_running_or_notify_cancel()
        self._leave = threading.Event()
        self._has_hung = False
        self.newest_at_s = self._loop.time()
        self.first_frame = asyncio.Event()
        # A daemon: a camera that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name=f"opening {source.name}", daemon=True).start()

    async def opened(self, *, deadline_s: float) -> Encoding:
        """Wait until the source is open.

        Raises:
            CameraError: it cannot be opened.
            CameraHung: it is not open after `deadline_s`.
        """
        encoding = await self._wait(self._opened, "opening", deadline_s)
        self.newest_at_s = self._loop.time()
        return encoding

    async def close(self, *, deadline_s: float) -> None:
        """Close the source, even one that is still being opened; frames cease to come at once.

        Raises:
            CameraError: the source had failed, or failed to close.
            CameraHung: it is not closed after `deadline_s`.
        """
        self._leave.set()
        if not self._has_hung:
            await self._wait(self._closed, "closing", deadline_s)

    def _run(self) -> None:
        try:
            with self._source.opened(self._publish) as encoding:
                self._opened.set_result(encoding)
                self._leave.wait()
        except BaseException as failure:  # noqa: BLE001 - raised again in the task that waits
            unresolved = self._closed if self._opened.done() else self._opened
            unresolved.set_exception(failure)
        if not self._closed.done():
            self._closed.set_result(None)

    def _publish(self, frame: EncodedFrame) -> None:
        # RuntimeError: the loop is closed, the process is on its way out.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._take, frame)

    def _take(self, frame: EncodedFrame) -> None:
        if self._leave.is_set():
            return
        self.newest_at_s = self._loop.time()
        self.first_frame.set()
        self._hub.publish(frame)

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

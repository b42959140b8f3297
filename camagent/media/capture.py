"""The camera runs only while someone watches, and for a little while after.

    IDLE ──► STARTING ──► LIVE ◄──► LINGERING ──► IDLE
                │  ▲        │ no frames: closed and opened anew
                ▼  └────────┘
              FAILED ──► STARTING, after a delay

A call into the camera that does not return ends `run`, and so the process: nothing else gets a
stuck driver's thread back. So does a Pi camera that stalled and does not open again.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NoReturn

import structlog

from camagent.errors import CameraError, RestartNeeded
from camagent.media.capture_state import NEXT, CaptureState
from camagent.media.frame import Encoding, RungRate, VideoSource
from camagent.media.hub import VideoHub
from camagent.media.low_rung import LowRung
from camagent.media.opening import Opening
from camagent.media.setback import Look, Setback
from camagent.progress import Progress

log = structlog.get_logger(__name__)


class Capture:
    """One source, its hub, and when the one feeds the other.

    Args:
        source: opened and closed as needed, each time from a new thread.
        linger_s: how long the camera stays open after the last watcher.
        is_always_on: keep it open from the start.
        stall_after_s: how long it may give no frame before it is opened anew.
        open_deadline_s: how long opening may take, and closing as well.
        retry_delays: gives the delays between attempts after a failure; called again after each
            success.
        on_change: told of every change of `state`; must not raise.

    Attributes:
        hub: where the frames of the main rung go.
        low: the low rung, which is encoded while its hub has subscribers.
        pictures: set while the camera is open and gave its first picture.
        restarts: how often the camera was opened anew because frames had ceased.
        progress: whether its loop still moves.
    """

    def __init__(
        self,
        source: VideoSource,
        *,
        linger_s: float,
        is_always_on: bool,
        stall_after_s: float = 3.0,
        open_deadline_s: float = 10.0,
        retry_delays: Callable[[], Iterator[float]],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.hub = VideoHub(self._force_keyframe)
        self.restarts = 0
        self.progress = Progress()
        self._source = source
        self._linger_s = linger_s
        self._stall_after_s = stall_after_s
        self._open_deadline_s = open_deadline_s
        self._on_change = on_change
        self._state = CaptureState.IDLE
        self._setback = Setback(retry_delays)
        self._rate: RungRate | None = None
        self._opening: Opening | None = None
        self._encoding: Encoding | None = None
        self._watchers = 1 if is_always_on else 0
        self._is_barred = False
        self._unwanted_since_s = float("-inf")
        self._wish_changed = asyncio.Event()
        self.low = LowRung(on_wish=self._wish_changed.set)
        self._has_failed = asyncio.Event()
        self.pictures = asyncio.Event()

    @property
    def state(self) -> CaptureState:
        """Where the camera stands."""
        return self._state

    @property
    def problem(self) -> str | None:
        """Why the camera failed last, or is thought to, until frames come again."""
        return None if self._setback.error is None else str(self._setback.error)

    @property
    def is_barred(self) -> bool:
        """True while the camera is to stay closed."""
        return self._is_barred

    @property
    def is_open(self) -> bool:
        """True while the camera may see something, from before it is opened until it is closed."""
        return self._state not in {CaptureState.IDLE, CaptureState.FAILED}

    @property
    def frame_age_s(self) -> float | None:
        """Seconds since the newest frame of the open camera; None while there is none."""
        if self._opening is None or not self._opening.first_frame.is_set():
            return None
        return asyncio.get_running_loop().time() - self._opening.newest_at_s

    def set_rate(self, rate: RungRate) -> None:
        """Encode at `rate` from now on, also after the camera was closed and opened."""
        self._rate = rate
        if self._encoding is not None:
            rate.apply_to(self._encoding)

    def bar(self, *, is_barred: bool) -> None:
        """Keep the camera closed, whoever watches and without lingering, until told otherwise."""
        self._is_barred = is_barred
        self._wish_changed.set()

    def suspect(
        self, problem: str, *, look: Look | None = None, look_interval_s: float = 60.0
    ) -> None:
        """Hold `problem` against a camera that was not opened yet, until frames come.

        Or until `look` finds nothing: it is called now and then while nobody watches, and whoever
        comes meanwhile waits for its end, for two cannot open the camera.
        """
        if self._state is CaptureState.IDLE and self._setback.error is None:
            self._setback.suspect(problem, look, look_interval_s)
            self._on_change()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Want the camera while the block runs; neither entering nor leaving waits for it."""
        self._watchers += 1
        self._wish_changed.set()
        try:
            yield
        finally:
            self._watchers -= 1
            self._unwanted_since_s = asyncio.get_running_loop().time()
            self._wish_changed.set()

    async def failed(self) -> CameraError:
        """Wait until the camera cannot serve, which may be now, and give the reason."""
        await self._has_failed.wait()
        assert self._setback.error is not None, "set before the event"
        return self._setback.error

    async def still(self, *, deadline_s: float) -> bytes:
        """Give the next picture of the open camera as JPEG.

        Raises:
            CameraError: it is closed, or gave none within `deadline_s`.
        """
        if self._opening is None or self._is_barred:
            raise CameraError(f"{self._source.name} is closed")
        return await self._opening.snapshot(deadline_s=deadline_s)

    async def run(self) -> NoReturn:
        """Open and close the camera as wanted, until cancelled; the camera is closed then.

        Raises:
            RestartNeeded: only a new process can help.
        """
        while True:
            await self._until_due()
            try:
                while await self._serve():
                    self.restarts += 1
                self._enter(CaptureState.IDLE)
                self.progress.expect_nothing()
            except RestartNeeded:
                raise
            except CameraError as error:
                await self._fail(error)

    async def _until_due(self) -> None:
        """Wait for a watcher, unless a failure has yet to be overcome; while barred, in any case."""
        while self._is_barred or (self._state is CaptureState.IDLE and not self._watchers):
            self.progress.expect_nothing()
            self._wish_changed.clear()
            is_idle = self._state is CaptureState.IDLE and not self._is_barred
            try:
                async with asyncio.timeout(self._setback.look_interval_s if is_idle else None):
                    await self._wish_changed.wait()
            except TimeoutError:
                problem = self.problem
                await self._setback.look_again()
                if self.problem != problem:
                    self._on_change()

    async def _serve(self) -> bool:
        """Open the camera and close it; true when it has to be opened again at once."""
        self._enter(CaptureState.STARTING)
        self.progress.expect_within(2 * self._open_deadline_s + self._stall_after_s)
        async with self._opened() as opening:
            await self._until_first_frame(opening)
            self.pictures.set()
            self._setback.is_over()
            return await self._watch_over(opening)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Opening]:
        """Hold the camera open while the block runs."""
        opening = Opening(self._source, self.hub)
        is_cancelled = False
        try:
            encoding = await opening.opened(deadline_s=self._open_deadline_s)
            self._opening, self._encoding = opening, encoding
            if self._rate is not None:
                self._rate.apply_to(encoding)
            yield opening
        except asyncio.CancelledError:
            is_cancelled = True
            raise
        finally:
            self._opening = self._encoding = None
            self.pictures.clear()
            self.low.closed()
            try:
                await opening.close(deadline_s=self._open_deadline_s)
            except CameraError as error:
                if not is_cancelled:
                    raise
                log.warning("capture.close_failed", problem=str(error))

    async def _until_first_frame(self, opening: Opening) -> None:
        try:
            async with asyncio.timeout(self._stall_after_s):
                await opening.first_frame.wait()
        except TimeoutError:
            raise CameraError(
                f"{self._source.name} opened, but gave no picture for {self._stall_after_s:g} s"
            ) from None

    async def _watch_over(self, opening: Opening) -> bool:
        """Return true when frames ceased though somebody wants them, false when nobody does."""
        loop = asyncio.get_running_loop()
        while True:
            is_wanted = self._watchers > 0 and not self._is_barred
            self._enter(CaptureState.LIVE if is_wanted else CaptureState.LINGERING)
            stalled_at_s = opening.newest_at_s + self._stall_after_s
            over_at_s = math.inf if is_wanted else self._over_at_s()
            self.progress.expect_within(self._stall_after_s + self._open_deadline_s)
            if loop.time() >= stalled_at_s:
                log.warning("capture.stalled", no_frame_for_s=self._stall_after_s)
                # Where nobody watches, no session has to be kept until it is overcome.
                if is_wanted or not self._source.survives_failure:
                    self._setback.stalled()
                return is_wanted
            if loop.time() >= over_at_s:
                return False
            self._wish_changed.clear()
            await self.low.adapt(opening, deadline_s=self._open_deadline_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(stalled_at_s, over_at_s)):
                    await self._wish_changed.wait()

    def _over_at_s(self) -> float:
        """When a camera that nobody wants is closed."""
        return -math.inf if self._is_barred else self._unwanted_since_s + self._linger_s

    async def _fail(self, error: CameraError) -> None:
        """Tell everybody, unless it may pass soon, and wait for the time of the next attempt.

        Raises:
            RestartNeeded: it had worked before, and this process had better not try on.
        """
        if self._setback.has_stalled and not self._source.survives_failure:
            raise RestartNeeded(f"the camera stalled and cannot be reopened: {error}") from error
        delay_s, may_pass_soon = self._setback.failed(error)
        if may_pass_soon:
            self._on_change()
        else:
            self._enter(CaptureState.FAILED)
        self.progress.expect_within(delay_s)
        await asyncio.sleep(delay_s)

    def _force_keyframe(self) -> None:
        if self._encoding is not None:
            self._encoding.force_keyframe()

    def _enter(self, state: CaptureState) -> None:
        """Move to `state`, log it and tell; any move that is not drawn above is a bug."""
        if state is self._state:
            return
        assert state in NEXT[self._state], f"{self._state.name} -> {state.name}"
        log.debug("capture.state", previous=self._state.value, state=state.value)
        self._state = state
        if state is CaptureState.FAILED:
            self._has_failed.set()
        else:
            self._has_failed.clear()
        self._on_change()

"""When the camera runs, and what becomes of it when it fails: with the habits of a real one."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from camagent.errors import CameraError, CameraHung, RestartNeeded
from camagent.media.capture import Capture
from camagent.media.capture_state import CaptureState
from camagent.media.frame import EncodedFrame, Encoding, Publish, RungRate, Stream
from camagent.media.snapshot import take_snapshot
from camagent.progress import Progress
from tests.support import running, until

IDLE, STARTING, LIVE = CaptureState.IDLE, CaptureState.STARTING, CaptureState.LIVE
LINGERING, FAILED = CaptureState.LINGERING, CaptureState.FAILED


class Camera:
    """A source that misbehaves as told; a thread of its own makes a frame every 2 ms.

    It copies what picamera2 does: it stalls without a word, hangs in open or close, is busy.
    """

    name = "fake camera"
    encoder = "fake"
    makes_keyframes = True
    survives_failure = True

    def __init__(self) -> None:
        self.openings = 0
        self.is_open = False
        self.open_problem: str | None = None
        self.close_problem: str | None = None
        self.is_stalled = False
        self.open_gate = threading.Event()
        self.close_gate = threading.Event()
        self.open_gate.set()
        self.close_gate.set()
        self.bitrates_bps: list[int] = []
        self.keyframes_forced = 0
        self.threads: set[str] = set()
        self.calls: list[str] = []
        self.low_problem: str | None = None

    @contextmanager
    def opened(self, publish: Callable[[EncodedFrame], None]) -> Iterator[Stream]:
        self.threads.add(threading.current_thread().name)
        self.openings += 1
        self.open_gate.wait()
        if self.open_problem is not None:
            raise CameraError(self.open_problem)
        assert not self.is_open, "opened twice"
        self.is_open = True
        closing = threading.Event()
        maker = threading.Thread(target=self._make_frames, args=(publish, closing))
        maker.start()
        try:
            yield self
        finally:
            self.close_gate.wait()
            closing.set()
            maker.join()
            self.is_open = False
        if self.close_problem is not None:
            raise CameraError(self.close_problem)

    @property
    def main(self) -> Encoding:
        return self

    @contextmanager
    def low_rung(self, publish: Publish) -> Iterator[Encoding]:
        self.calls.append("low")
        if self.low_problem is not None:
            raise CameraError(self.low_problem)
        publish(EncodedFrame(b"low", time.monotonic_ns() // 1_000, is_keyframe=True))
        yield self
        self.calls.append("no low")

    def snapshot(self) -> bytes:
        self.calls.append("snapshot")
        return b"JPEG"

    def force_keyframe(self) -> None:
        self.keyframes_forced += 1

    def set_bitrate(self, bitrate_bps: int) -> None:
        self.bitrates_bps.append(bitrate_bps)

    def set_frame_rate(self, frames_per_second: int) -> None:
        assert frames_per_second == 30

    def _make_frames(
        self, publish: Callable[[EncodedFrame], None], closing: threading.Event
    ) -> None:
        is_first = True
        while True:
            if not self.is_stalled:
                publish(EncodedFrame(b"frame", time.monotonic_ns() // 1_000, is_first))
                is_first = False
            if closing.wait(0.002):
                return


class Viewer:
    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []

    def take(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)


@pytest.fixture
def camera() -> Iterator[Camera]:
    """Give a camera; its gates open at the end, so that no thread outlives the test."""
    camera = Camera()
    yield camera
    camera.open_gate.set()
    camera.close_gate.set()


STALL_S = 0.6


class Watched(Capture):
    """A capture with short times, which remembers its states and problems.

    Where nothing is to stall, nothing does: a busy machine holds up the fake camera's thread, too.
    """

    def __init__(
        self,
        camera: Camera,
        *,
        linger_s: float = 0.05,
        is_always_on: bool = False,
        stall_after_s: float = 60.0,
        open_deadline_s: float = 5.0,
        retry_delay_s: float = 0.01,
        retry_delays_s: Callable[[], Iterator[float]] | None = None,
    ) -> None:
        self.problems: list[str | None] = []
        self.states: list[CaptureState] = []
        super().__init__(
            camera,
            linger_s=linger_s,
            is_always_on=is_always_on,
            stall_after_s=stall_after_s,
            open_deadline_s=open_deadline_s,
            retry_delays=retry_delays_s or (lambda: itertools.repeat(retry_delay_s)),
            on_change=self._note,
        )

    def _note(self) -> None:
        self.states.append(self.state)
        self.problems.append(self.problem)


async def test_nobody_watches_nothing_runs(camera: Camera) -> None:
    """The camera stays closed until somebody watches."""
    capture = Watched(camera)
    async with running(capture.run()):
        await asyncio.sleep(0.02)
        assert (capture.state, camera.openings, capture.frame_age_s) == (IDLE, 0, None)


async def test_the_camera_runs_while_someone_watches(camera: Camera) -> None:
    """The first watcher opens it, the last one's leaving closes it after the linger."""
    capture = Watched(camera)
    async with running(capture.run()):
        with capture.watched():
            await until(lambda: capture.state is LIVE)
            assert capture.frame_age_s is not None
            with capture.watched():
                pass
            await asyncio.sleep(0.1)
            assert capture.state is LIVE
        await until(lambda: capture.state is IDLE)

        assert not camera.is_open
        assert capture.states == [STARTING, LIVE, LINGERING, IDLE]
        assert camera.openings == 1


async def test_who_comes_back_in_time_finds_it_running(camera: Camera) -> None:
    """A watcher during the linger keeps the camera open; no second opening."""
    capture = Watched(camera, linger_s=5)
    async with running(capture.run()):
        with capture.watched():
            await until(lambda: capture.state is LIVE)
        await until(lambda: capture.state is LINGERING)
        with capture.watched():
            await until(lambda: capture.state is LIVE)
            assert camera.openings == 1


async def test_an_always_on_camera_never_closes(camera: Camera) -> None:
    """It opens by itself and outlasts its watchers."""
    capture = Watched(camera, is_always_on=True, linger_s=0)
    async with running(capture.run()):
        await until(lambda: capture.state is LIVE)
        with capture.watched():
            pass
        await asyncio.sleep(0.05)
        assert capture.state is LIVE
    assert not camera.is_open


async def test_subscribers_take_frames_on_the_loop(camera: Camera) -> None:
    """Frames cross from the camera's thread to the loop, in order; control goes back."""
    capture = Watched(camera)
    viewer = Viewer()
    capture.set_rate(RungRate(300_000, 30))
    async with running(capture.run()):
        with capture.watched(), capture.hub.subscribed(viewer):
            await until(lambda: len(viewer.frames) > 10)
            capture.hub.request_keyframe()
            capture.set_rate(RungRate(200_000, 30))
            await until(lambda: camera.keyframes_forced)
    times = [frame.pts_us for frame in viewer.frames]
    assert times == sorted(times)
    assert camera.bitrates_bps == [300_000, 200_000]


async def test_the_bitrate_outlasts_an_opening(camera: Camera) -> None:
    """What was set last is set again when the camera opens anew."""
    capture = Watched(camera, linger_s=0)
    capture.set_rate(RungRate(123_000, 30))
    async with running(capture.run()):
        for _ in range(2):
            with capture.watched():
                await until(lambda: capture.state is LIVE)
            await until(lambda: capture.state is IDLE)
    assert camera.bitrates_bps == [123_000, 123_000]


async def test_a_stalled_camera_is_opened_anew(camera: Camera) -> None:
    """Without a frame for a while it closes and opens; subscribers go on with a keyframe."""
    capture = Watched(camera, stall_after_s=STALL_S)
    viewer = Viewer()
    async with running(capture.run()):
        with capture.watched(), capture.hub.subscribed(viewer):
            await until(lambda: capture.state is LIVE)
            camera.is_stalled = True
            seen = len(viewer.frames)
            await until(lambda: capture.restarts)
            camera.is_stalled = False
            await until(lambda: capture.state is LIVE)
            await until(lambda: any(frame.is_keyframe for frame in viewer.frames[seen:]))
            assert capture.states[:4] == [STARTING, LIVE, STARTING, LIVE]
            assert capture.problem is None
    times = [frame.pts_us for frame in viewer.frames]
    assert times == sorted(set(times))


async def test_a_camera_without_pictures_has_failed(camera: Camera) -> None:
    """One that opens and gives nothing is no stall but a failure, with a delay before the next."""
    camera.is_stalled = True
    capture = Watched(camera, stall_after_s=STALL_S)
    async with running(capture.run()):
        with capture.watched():
            error = await capture.failed()
            assert "fake camera opened, but gave no picture" in str(error)
            camera.is_stalled = False
            await until(lambda: capture.state is LIVE)
    assert LIVE not in capture.states[: capture.states.index(FAILED)]


async def test_a_failure_is_told_to_all_who_ask(camera: Camera) -> None:
    """Those who wait are told, those who ask later too; success clears the problem."""
    camera.open_problem = "somebody else has it"
    capture = Watched(camera, retry_delay_s=0.1)
    async with running(capture.run()):
        with capture.watched():
            waiting = asyncio.create_task(capture.failed())
            await until(lambda: capture.state is FAILED)
            assert str(await waiting) == str(await capture.failed()) == camera.open_problem
            assert capture.problem == camera.open_problem

            camera.open_problem = None
            await until(lambda: capture.state is LIVE)
            assert capture.problem is None
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await capture.failed()


async def test_a_failed_camera_is_tried_again_without_watchers(camera: Camera) -> None:
    """The retries go on until it works; then it closes, and the problem is gone."""
    camera.open_problem = "no camera"
    capture = Watched(camera)
    async with running(capture.run()):
        with capture.watched():
            await until(lambda: capture.state is FAILED)
        await until(lambda: camera.openings >= 4)
        camera.open_problem = None
        await until(lambda: capture.state is IDLE)
        assert capture.problem is None
        assert capture.states[-3:] == [STARTING, LINGERING, IDLE]


async def test_a_failure_on_closing_counts(camera: Camera) -> None:
    """What went wrong inside, and is told where the source closes, becomes the problem."""
    camera.close_problem = "the encoder failed long ago"
    capture = Watched(camera, stall_after_s=STALL_S)
    async with running(capture.run()):
        with capture.watched():
            await until(lambda: capture.state is LIVE)
            camera.is_stalled = True
            await until(lambda: capture.problem == "the encoder failed long ago")
            camera.is_stalled = False
            camera.close_problem = None
            await until(lambda: capture.problem is None and capture.state is LIVE)


@pytest.mark.parametrize("gate", ["open_gate", "close_gate"])
async def test_a_call_that_hangs_ends_the_process(camera: Camera, gate: str) -> None:
    """Opening or closing that does not return in time is raised out of run."""
    getattr(camera, gate).clear()
    capture = Watched(camera, open_deadline_s=0.1 if gate == "open_gate" else 5.0, linger_s=0)
    task = asyncio.create_task(capture.run())
    with capture.watched():
        await until(lambda: camera.openings)
        await until(lambda: gate == "open_gate" or capture.state is LIVE)
        capture._open_deadline_s = 0.1
    with pytest.raises(CameraHung, match=r"ing fake camera takes more than 0\.1 s"):
        await task


async def test_cancellation_closes_the_camera(camera: Camera) -> None:
    """Whoever cancels run finds the camera closed and no thread left."""
    capture = Watched(camera)
    with capture.watched():
        task = asyncio.create_task(capture.run())
        await until(lambda: capture.state is LIVE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not camera.is_open
    await until(lambda: not camera.threads & {thread.name for thread in threading.enumerate()})


async def test_cancellation_while_opening_closes_what_opens(camera: Camera) -> None:
    """A camera whose opening is under way is waited for and closed."""
    camera.open_gate.clear()
    capture = Watched(camera)
    with capture.watched():
        task = asyncio.create_task(capture.run())
        await until(lambda: camera.openings)
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
        camera.open_gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not camera.is_open


async def test_cancellation_is_not_held_up_by_a_camera_that_hangs(camera: Camera) -> None:
    """Closing on cancellation has a deadline too, and stays a cancellation."""
    camera.close_gate.clear()
    capture = Watched(camera)
    with capture.watched():
        task = asyncio.create_task(capture.run())
        await until(lambda: capture.state is LIVE)
        capture._open_deadline_s = 0.1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_what_no_source_may_raise_is_not_hidden(camera: Camera) -> None:
    """An error that is not a CameraError is a bug, and ends run as it is."""

    class Broken(Camera):
        @contextmanager
        def opened(self, publish: Callable[[EncodedFrame], None]) -> Iterator[Stream]:
            raise ZeroDivisionError(f"in {publish}")
            yield self

    capture = Watched(Broken())
    with capture.watched(), pytest.raises(ZeroDivisionError):
        await capture.run()


def test_frames_after_the_loop_is_gone_do_no_harm(camera: Camera) -> None:
    """A camera that still runs when the loop closes gets no exception."""
    camera.close_gate.clear()
    capture = Watched(camera)

    async def leave_it_running() -> None:
        with capture.watched():
            task = asyncio.create_task(capture.run())
            await until(lambda: capture.state is LIVE)
            capture._open_deadline_s = 0.05
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(leave_it_running())
    assert camera.is_open
    camera.close_gate.set()
    for thread in threading.enumerate():
        if thread.name in camera.threads:
            thread.join(10)
    assert not camera.is_open


async def test_a_barred_camera_closes_at_once_and_stays_closed(camera: Camera) -> None:
    """Neither the linger, nor a viewer, nor always_on keeps it open; lifting the bar opens it."""
    capture = Watched(camera, linger_s=3600, is_always_on=True)
    async with running(capture.run()):
        await until(lambda: capture.state is LIVE)
        assert capture.is_open
        capture.bar(is_barred=True)
        await until(lambda: capture.state is IDLE)
        assert not camera.is_open
        with capture.watched():
            await asyncio.sleep(0.05)
            assert (capture.is_open, camera.openings) == (False, 1)
            capture.bar(is_barred=False)
            await until(lambda: capture.state is LIVE)

    assert camera.openings == 2


async def test_a_camera_that_failed_is_not_tried_again_while_barred(camera: Camera) -> None:
    """The next attempt waits for the bar to be lifted."""
    camera.open_problem = "busy"
    capture = Watched(camera)
    async with running(capture.run()):
        with capture.watched():
            await capture.failed()
            capture.bar(is_barred=True)
            await asyncio.sleep(0.05)
            openings, camera.open_problem = camera.openings, None
            await asyncio.sleep(0.05)
            assert camera.openings == openings
            capture.bar(is_barred=False)
            await until(lambda: capture.state is LIVE)


async def test_a_suspicion_holds_until_frames_come(camera: Camera) -> None:
    """What was found out without opening the camera is its problem until it proves otherwise."""
    capture = Watched(camera)
    async with running(capture.run()):
        capture.suspect("libcamera finds no camera")
        assert capture.problem == "libcamera finds no camera"
        with capture.watched():
            await until(lambda: capture.state is LIVE)
            assert capture.problem is None
            capture.suspect("too late to matter")
            assert capture.problem is None


async def test_its_loop_is_known_to_move(camera: Camera) -> None:
    """Idle it promises nothing; watched it promises its next look, and an open that hangs none."""
    now_s = 0.0
    capture = Watched(camera, open_deadline_s=3600, stall_after_s=STALL_S)
    capture.progress = Progress(clock=lambda: now_s)
    async with running(capture.run()):
        await asyncio.sleep(0.01)
        now_s = 1e6
        assert not capture.progress.is_stuck
        with capture.watched():
            await until(lambda: capture.state is LIVE)
            assert not capture.progress.is_stuck
            now_s += 1e6
            assert capture.progress.is_stuck
            await until(lambda: not capture.progress.is_stuck)


async def test_the_low_rung_runs_while_somebody_takes_it(camera: Camera) -> None:
    """Its encoder starts with the first subscriber and stops with the last; the main rung goes on."""
    capture = Watched(camera)
    viewer, low_viewer = Viewer(), Viewer()
    async with running(capture.run()):
        with capture.watched(), capture.hub.subscribed(viewer):
            await until(lambda: capture.state is LIVE)
            assert camera.calls == []
            with capture.low.hub.subscribed(low_viewer), capture.low.hub.subscribed(Viewer()):
                await until(lambda: low_viewer.frames)
                capture.low.set_rate(RungRate(100_000, 30))
            await until(lambda: camera.calls == ["low", "no low"])
            seen = len(viewer.frames)
            await until(lambda: len(viewer.frames) > seen)

    assert [frame.data for frame in low_viewer.frames] == [b"low"]
    assert camera.bitrates_bps == [100_000]
    assert camera.openings == 1


async def test_a_low_rung_that_fails_costs_the_main_one_nothing(camera: Camera) -> None:
    """It is tried once for each who comes, and says why it cannot be had."""
    camera.low_problem = "no second encoder"
    capture = Watched(camera)
    async with running(capture.run()):
        with capture.watched():
            await until(lambda: capture.state is LIVE)
            with capture.low.hub.subscribed(Viewer()):
                await until(lambda: capture.low.problem == "no second encoder")
                await asyncio.sleep(0.02)
                assert (camera.calls, capture.state) == (["low"], LIVE)
                camera.low_problem = None
                with capture.low.hub.subscribed(Viewer()):
                    await until(lambda: capture.low.problem is None)


async def test_the_low_rung_comes_back_after_a_stall(camera: Camera) -> None:
    """A camera that was opened anew encodes it again."""
    capture = Watched(camera, stall_after_s=STALL_S)
    async with running(capture.run()):
        with capture.watched(), capture.low.hub.subscribed(Viewer()):
            await until(lambda: camera.calls == ["low"])
            camera.is_stalled = True
            await until(lambda: capture.restarts)
            camera.is_stalled = False
            await until(lambda: camera.calls[:3] == ["low", "no low", "low"])


async def test_a_snapshot_opens_the_camera_for_itself(camera: Camera) -> None:
    """Nobody has to watch; afterwards the camera closes as always."""
    capture = Watched(camera)
    async with running(capture.run()):
        assert await take_snapshot(capture, settle_s=0) == b"JPEG"
        await until(lambda: capture.state is IDLE)
    assert camera.openings == 1


async def test_a_snapshot_that_cannot_be_taken_says_why(camera: Camera) -> None:
    """A camera that fails, or is switched off, is an error with its reason."""
    camera.open_problem = "somebody else has it"
    capture = Watched(camera)
    async with running(capture.run()):
        with pytest.raises(CameraError, match="somebody else has it"):
            await take_snapshot(capture, settle_s=0)
        capture.bar(is_barred=True)
        with pytest.raises(CameraError, match="switched off"):
            await take_snapshot(capture, settle_s=0)


async def test_a_pi_camera_that_does_not_open_again_ends_the_process(camera: Camera) -> None:
    """After a stall a new process is worth more than more attempts in this one."""
    camera.survives_failure = False
    capture = Watched(camera, stall_after_s=STALL_S)
    task = asyncio.create_task(capture.run())
    with capture.watched():
        await until(lambda: capture.state is LIVE)
        camera.open_problem = "the sensor does not answer"
        camera.is_stalled = True
        with pytest.raises(RestartNeeded, match="stalled and cannot be reopened: the sensor"):
            await task


async def test_viewers_stay_while_a_source_comes_back(camera: Camera) -> None:
    """One that ceased and cannot be opened at once is tried again before anybody is sent away.

    However long the delays have become.
    """
    retry_delays_s = itertools.chain([0.01, 0.01], itertools.repeat(3600.0))
    capture = Watched(camera, stall_after_s=STALL_S, retry_delays_s=lambda: retry_delays_s)
    async with running(capture.run()):
        with capture.watched():
            await until(lambda: capture.state is LIVE)
            camera.open_problem = "no route to host"
            camera.is_stalled = True
            await until(lambda: camera.openings >= 4)
            assert capture.problem == "no route to host"
            camera.open_problem, camera.is_stalled = None, False
            await until(lambda: capture.state is LIVE)
    assert FAILED not in capture.states


async def test_a_source_that_goes_while_lingering_has_failed(camera: Camera) -> None:
    """With nobody's session to keep it is a failure like any other, and is tried again as one."""
    capture = Watched(camera, linger_s=3600, stall_after_s=1, retry_delay_s=0.05)
    async with running(capture.run()):
        with capture.watched():
            await until(lambda: capture.state is LIVE)
        await until(lambda: capture.state is LINGERING)
        camera.open_problem = camera.close_problem = "no such device"
        camera.is_stalled = True
        await until(lambda: camera.openings >= 3)
        assert capture.problem == "no such device"
        states = capture.states[capture.states.index(LINGERING) :]
        assert states[:4] == [LINGERING, FAILED, STARTING, FAILED]
        camera.is_stalled = False
        camera.open_problem = camera.close_problem = None
        await until(lambda: capture.problem is None)


async def test_a_pi_camera_that_goes_while_lingering_ends_the_process(camera: Camera) -> None:
    """Whoever watches next finds one that a new process opened."""
    camera.survives_failure = False
    capture = Watched(camera, linger_s=3600, stall_after_s=1)
    task = asyncio.create_task(capture.run())
    with capture.watched():
        await until(lambda: capture.state is LIVE)
    camera.close_problem = "the Pi camera does not close"
    camera.is_stalled = True
    with pytest.raises(RestartNeeded, match="stalled and cannot be reopened: the Pi camera does"):
        await task


async def test_a_suspicion_is_taken_back_when_a_look_finds_nothing(camera: Camera) -> None:
    """Until then each look says what it finds; nobody is told twice of the same."""
    found: list[str | None] = ["in use", "in use", "no camera", None]

    async def look() -> None:
        if (problem := found.pop(0)) is not None:
            raise CameraError(problem)

    capture = Watched(camera)
    async with running(capture.run()):
        capture.suspect("in use", look=look, look_interval_s=0.01)
        await until(lambda: not found)
        await until(lambda: capture.problem is None)
        await asyncio.sleep(0.05)
    assert capture.problems == ["in use", "no camera", None]
    assert camera.openings == 0


async def test_a_look_and_a_viewer_take_turns(camera: Camera) -> None:
    """Two cannot open a camera: who comes waits for the look, and nobody looks while one watches."""
    looks, may_end = 0, asyncio.Event()

    async def look() -> None:
        nonlocal looks
        looks += 1
        await may_end.wait()
        raise CameraError("in use")

    capture = Watched(camera)
    async with running(capture.run()):
        capture.suspect("in use", look=look, look_interval_s=0.01)
        await until(lambda: looks)
        with capture.watched():
            await asyncio.sleep(0.05)
            assert camera.openings == 0
            may_end.set()
            await until(lambda: capture.state is LIVE)
            assert capture.problem is None
            await asyncio.sleep(0.05)
    assert looks == 1


async def test_a_barred_camera_is_not_looked_at(camera: Camera) -> None:
    """A look may open it, too."""
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1

    capture = Watched(camera)
    capture.bar(is_barred=True)
    async with running(capture.run()):
        capture.suspect("in use", look=look, look_interval_s=0.01)
        await asyncio.sleep(0.05)
        assert looks == 0
        capture.bar(is_barred=False)
        await until(lambda: capture.problem is None)
    assert looks == 1

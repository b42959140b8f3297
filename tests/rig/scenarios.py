"""What is done with the real picamera2, inside the rig: one function each, its result as JSON."""

import asyncio
import importlib
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
from structlog.testing import capture_logs

from camagent.errors import CameraError, CameraRefused
from camagent.media.capture import Capture
from camagent.media.capture_state import CaptureState
from camagent.media.encoder import EncoderOptions
from camagent.media.finding import find_pi_camera
from camagent.media.frame import EncodedFrame
from camagent.media.picamera import CameraWishes, PiCamera, pi_camera_problem
from camagent.media.picamera.controls import CHOICES, ISP_HDR
from camagent.media.picture import planes_of
from camagent.media.timestamp import read_timestamp

CAMERA_FAULT = Path(os.environ["LIBCAMERA_VIRTUAL_FAULT"])
DEADLINE_S = 20.0


def camera(*, frames_per_second: int = 30, overlay: str | None = None, **wishes: Any) -> PiCamera:
    return PiCamera(
        EncoderOptions(
            width_px=1280,
            height_px=720,
            frames_per_second=frames_per_second,
            bitrate_bps=2_000_000,
            keyframe_interval_s=10,
            overlay=overlay,
        ),
        CameraWishes(**wishes),
    )


class Viewer:
    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []
        self.delays_us: list[float] = []
        self._came = threading.Condition()

    def take(self, frame: EncodedFrame) -> None:
        with self._came:
            self.frames.append(frame)
            self.delays_us.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e3 - frame.pts_us)
            self._came.notify()

    def next(self, count: int) -> list[EncodedFrame]:
        """Wait for so many more frames."""
        return self.since(len(self.frames), count)

    def since(self, start: int, count: int) -> list[EncodedFrame]:
        """Wait until so many frames came after the first `start`."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.frames) >= start + count, DEADLINE_S)
            return self.frames[start:]


def next_of_both(main: Viewer, low: Viewer, count: int) -> list[list[EncodedFrame]]:
    """Wait for so many more frames of two rungs at once."""
    starts = len(main.frames), len(low.frames)
    return [one.since(start, count) for one, start in zip((main, low), starts, strict=True)]


def stream() -> dict[str, Any]:
    """Open, force keyframes, change the bitrate, close; decode all of it."""
    viewer = Viewer()
    source = camera()
    with source.opened(viewer.take) as its_stream:
        encoding = its_stream.main
        before = viewer.next(90)
        for _ in range(3):
            encoding.force_keyframe()
        forced = viewer.next(30)
        encoding.set_bitrate(500_000)
        viewer.next(30)
        after = viewer.next(60)
        kind = encoding.encoder
    return {
        "name": source.name,
        "encoder": kind,
        "is_first_a_keyframe": viewer.frames[0].is_keyframe,
        "keyframes_before": [n for n, frame in enumerate(before) if frame.is_keyframe and n],
        "keyframes_forced": [n for n, frame in enumerate(forced) if frame.is_keyframe],
        "nal_types_of_keyframes": nal_types(next(frame for frame in forced if frame.is_keyframe)),
        "sps": forced_sps(viewer.frames[0]),
        "gaps_us": gaps_us(viewer.frames),
        "bits_per_second": [bits_per_second(before[30:]), bits_per_second(after)],
        "median_delay_ms": sorted(viewer.delays_us)[len(viewer.delays_us) // 2] / 1e3,
        **decoded(viewer.frames),
    }


def brief() -> dict[str, Any]:
    """Open, have a second of video, close."""
    viewer = Viewer()
    with camera().opened(viewer.take) as its_stream:
        viewer.next(30)
        kind = its_stream.main.encoder
    return {"encoder": kind, **decoded(viewer.frames)}


def two_rungs() -> dict[str, Any]:
    """Start and stop the low rung twice beside the main one, and take a snapshot meanwhile."""
    viewer = Viewer()
    sightings = []
    with camera().opened(viewer.take) as its_stream:
        viewer.next(10)
        for _ in range(2):
            low = Viewer()
            with its_stream.low_rung(low.take) as encoding:
                low.next(20)
                encoding.force_keyframe()
                still = its_stream.snapshot()
                low.next(20)
            viewer.next(10)
            while viewer.frames[-1].pts_us < low.frames[-1].pts_us:
                viewer.next(1)  # the low rung was that much quicker
            sightings.append(
                {
                    "keyframes": [n for n, frame in enumerate(low.frames) if frame.is_keyframe],
                    "strangers": len(
                        {frame.pts_us for frame in low.frames}
                        - {frame.pts_us for frame in viewer.frames}
                    ),
                    "size": size_of(low.frames[0].data, "h264"),
                    "gaps_us": gaps_us(low.frames),
                    **decoded(low.frames),
                }
            )
    return {
        "low": sightings,
        "still": size_of(still, "mjpeg"),
        "gaps_us": gaps_us(viewer.frames),
        **decoded(viewer.frames),
    }


def rungs_follow() -> dict[str, Any]:
    """Change the rates of both rungs while they run: what each makes before and after."""
    main, low = Viewer(), Viewer()
    with camera().opened(main.take) as its_stream, its_stream.low_rung(low.take) as its_low:
        before = [frames[30:] for frames in next_of_both(main, low, 60)]
        its_stream.main.set_bitrate(500_000)
        its_low.set_bitrate(100_000)
        low.next(30)
        after = next_of_both(main, low, 60)
        its_low.set_frame_rate(15)
        low.next(15)
        fewer = low.next(30)
        return {
            "encoders": [its_stream.main.encoder, its_low.encoder],
            "before": [bits_per_second(frames) for frames in before],
            "after": [bits_per_second(frames) for frames in after],
            "fewer": bits_per_second(fewer),
            "fewer_gaps_us": gaps_us(fewer),
            # But for the first; from the 300th picture on one is due anyhow.
            "keyframes": sum(
                frame.is_keyframe for frame in [*main.frames[1:150], *low.frames[1:150]]
            ),
        }


def overlay() -> dict[str, Any]:
    """Open twice with an overlay: what both rungs and a snapshot show where its panel is."""
    source = camera(overlay="cam")
    sightings = {}
    with capture_logs() as events:
        for _ in range(2):
            main, low = Viewer(), Viewer()
            with source.opened(main.take) as its_stream, its_stream.low_rung(low.take):
                main.next(10)
                low.next(10)
                still = its_stream.snapshot()
            sightings = {
                "main": panel(main.frames[0].data, "h264"),
                "low": panel(low.frames[0].data, "h264"),
                "still": panel(still, "mjpeg"),
                **decoded(main.frames),
            }
    warnings = [event["encoder"] for event in events if event["event"] == "overlay.not_drawn"]
    return {"warnings": warnings, **sightings}


def panel(data: bytes, codec: str) -> list[int]:
    """Give the darkest, median and brightest level on the left above the bottom."""
    (picture, *_) = av.CodecContext.create(codec, "r").decode(av.Packet(data))
    luma = planes_of(picture.reformat(format="yuv420p", dst_color_range="MPEG"))[0]
    top = (len(luma) - 32) & ~15
    cut = sorted(luma[top : top + 16, 20:100].flatten().tolist())
    return [cut[0], cut[len(cut) // 2], cut[-1]]


def size_of(data: bytes, codec: str) -> list[int]:
    decoder = av.CodecContext.create(codec, "r")
    picture = [*decoder.decode(av.Packet(data)), *decoder.decode(None)][0]
    return [picture.width, picture.height]


def reopen() -> dict[str, Any]:
    """Open and close several times; count what is left behind."""
    source = camera()
    left = []
    for _ in range(4):
        viewer = Viewer()
        with source.opened(viewer.take):
            viewer.next(5)
        left.append((threading.active_count(), open_files()))
    return {"threads_and_files": left}


def slow() -> dict[str, Any]:
    """Run at ten pictures per second."""
    viewer = Viewer()
    with camera(frames_per_second=10).opened(viewer.take):
        viewer.next(15)
    return {"gaps_us": gaps_us(viewer.frames)}


def refused() -> dict[str, Any]:
    """Ask for a camera that is not there, and for one that is taken."""
    return {
        "problem": pi_camera_problem(),
        "absent": problem_of(lambda: camera(id="3")),
        "busy": problem_of(camera, while_open=camera()),
    }


def refused_often() -> dict[str, Any]:
    """Ask for a camera that is taken, several times; count the open files before and after each."""
    with camera().opened(Viewer().take):
        files = [open_files()]
        for _ in range(4):
            assert "cannot be opened" in str(problem_of(camera))
            files.append(open_files())
    return {"files": files}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def adjusted() -> dict[str, Any]:
    """Ask for everything at once, and look at what the camera then says of itself."""
    source = camera(
        id="/base/soc/i2c0mux/i2c@1/imx708@1a",
        sensor_width_px=2304,
        sensor_height_px=1296,
        rotation_deg=180,
        vertical_flip=True,
        exposure_time_us=5_000,
        exposure_value=1.5,
        metering="spot",
        flicker="50hz",
        analogue_gain=4.0,
        red_gain=1.5,
        blue_gain=2.0,
        lens_position_dioptres=5.0,
        focus_range="macro",
        brightness=0.1,
        contrast=1.1,
        saturation=0.9,
        sharpness=2.0,
        noise_reduction="high-quality",
        zoom=2.0,
        zoom_centre_x=0.25,
        zoom_centre_y=1.0,
    )
    viewer = Viewer()
    with source.opened(viewer.take) as its_stream:
        viewer.next(5)
        return what_it_is(its_stream)


def what_it_is(its_stream: Any) -> dict[str, Any]:
    picamera2 = its_stream._camera
    metadata = picamera2.capture_metadata(wait=DEADLINE_S)
    configuration = picamera2.camera_configuration()
    told = ("ExposureTime", "AnalogueGain", "LensPosition", "ScalerCrop", "FrameDuration")
    return {
        "metadata": {name: metadata[name] for name in told},
        "flips": [configuration["transform"].hflip, configuration["transform"].vflip],
        "sensor": configuration["sensor"]["output_size"],
    }


def unadjusted() -> dict[str, Any]:
    """Ask for nothing."""
    viewer = Viewer()
    with camera().opened(viewer.take) as its_stream:
        viewer.next(5)
        return what_it_is(its_stream)


def focused() -> dict[str, Any]:
    """Let the lens look for its place once, after the start."""
    viewer = Viewer()
    with camera(autofocus="auto").opened(viewer.take) as its_stream:
        viewer.next(30)
        return {"state": its_stream._camera.capture_metadata(wait=DEADLINE_S)["AfState"]}


def too_much() -> dict[str, Any]:
    """Ask for what this camera cannot do; then whether it can be had all the same."""
    wishes = {
        "exposure_time_us": 40_000,
        "analogue_gain": 17.0,
        "lens_position_dioptres": 16.0,
        "contrast": 33.0,
        "zoom": 50.0,
        "sensor_width_px": 1920,
        "sensor_height_px": 1080,
        "names": {"zoom": "ZOOM"},
    }
    try:
        with camera(**wishes).opened(lambda _frame: None):
            refused = []
    except CameraRefused as error:
        refused = error.problems
    camera().check()
    return {"refused": refused}


def looked_at() -> dict[str, Any]:
    """Let a process of its own look at the camera, and open it here afterwards."""
    wishes = {"contrast": 33.0, "zoom": 50.0}
    seen = {
        "fine": found(camera(brightness=0.5)),
        "too_much": found(camera(**wishes)),
        "absent": found(camera(id="3")),
        "not_opened": found(camera(**wishes), may_open=False),
    }
    viewer = Viewer()
    with camera().opened(viewer.take):
        viewer.next(5)
    return seen


def found(source: PiCamera, *, may_open: bool = True) -> list[str]:
    try:
        asyncio.run(find_pi_camera(source, may_open=may_open))
    except CameraRefused as refused:
        return refused.problems
    except CameraError as error:
        return [str(error)]
    return []


def numbers() -> dict[str, Any]:
    """Set our numbers of choices beside libcamera's."""
    controls = importlib.import_module("libcamera").controls
    ours = dict(CHOICES.values()) | {"HdrMode": ISP_HDR}
    theirs = {
        control: getattr(controls, f"{control}Enum", None)
        or getattr(controls.draft, f"{control}Enum")
        for control in ours
    }
    return {
        control: [
            [name, number, theirs[control](number).name]
            for name, number in choices.items()
            if not name.endswith("hz")
        ]
        for control, choices in ours.items()
    }


def late() -> dict[str, Any]:
    """Let a camera come after libcamera had found none."""
    cameras = Path(os.environ["FAKE_CAMERAS"])
    cameras.write_text("0")
    source = camera()
    problems = [problem_of(lambda: source), problem_of(lambda: source)]
    cameras.write_text("1")
    return {"problems": [*problems, problem_of(lambda: source)]}


def problem_of(make: Callable[[], PiCamera], while_open: PiCamera | None = None) -> str:
    if while_open is not None:
        with while_open.opened(lambda _frame: None):
            return problem_of(make)
    try:
        with make().opened(lambda _frame: None):
            return "opened"
    except CameraError as error:
        return f"{type(error).__name__}: {error}"


def stall() -> dict[str, Any]:
    """Let the sensor stop and come back under a capture that is watched."""
    return asyncio.run(stall_on_a_loop())


async def stall_on_a_loop() -> dict[str, Any]:
    states: list[str] = []
    capture = Capture(
        camera(),
        linger_s=0.1,
        is_always_on=False,
        stall_after_s=1.0,
        retry_delays=lambda: itertools.repeat(0.1),
        on_change=lambda: states.append(capture.state.value),
    )
    viewer = Viewer()
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(capture.run())
        with capture.watched(), capture.hub.subscribed(viewer):
            await until(lambda: len(viewer.frames) > 30)
            set_camera_fault("stall")
            await until(lambda: capture.state is CaptureState.STARTING)
            seen = len(viewer.frames)
            set_camera_fault("")
            await until(lambda: len(viewer.frames) > seen + 30)
        await until(lambda: capture.state is CaptureState.IDLE)
        running.cancel()
    return {
        "states": states,
        "restarts": capture.restarts,
        "is_first_after_it_a_keyframe": viewer.frames[seen].is_keyframe,
        "gaps_us": gaps_us(viewer.frames),
        **decoded(viewer.frames),
    }


def set_camera_fault(fault: str) -> None:
    CAMERA_FAULT.write_text(fault)


async def until(claim: Callable[[], object]) -> None:
    while not claim():
        await asyncio.sleep(0.01)


def decoded(frames: list[EncodedFrame]) -> dict[str, int]:
    """Decode everything; count the pictures, and those that show another time than they carry."""
    decoder = av.CodecContext.create("h264", "r")
    pictures = wrong = 0
    for frame in frames:
        for picture in decoder.decode(av.Packet(frame.data)):
            pictures += 1
            # The rig's camera draws its SensorTimestamp, in nanoseconds.
            wrong += read_timestamp(planes_of(picture)[0]) // 1_000 != frame.pts_us
    return {"frames": len(frames), "pictures": pictures, "wrong_times": wrong}


def nal_types(frame: EncodedFrame) -> list[int]:
    return [unit[0] & 0x1F for unit in frame.data.split(b"\x00\x00\x01")[1:]]


def forced_sps(frame: EncodedFrame) -> list[int]:
    return list(frame.data.split(b"\x00\x00\x01")[1][1:4])


def gaps_us(frames: list[EncodedFrame]) -> list[int]:
    return [later.pts_us - earlier.pts_us for earlier, later in itertools.pairwise(frames)]


def bits_per_second(frames: list[EncodedFrame]) -> float:
    duration_us = frames[-1].pts_us - frames[0].pts_us
    return sum(len(frame.data) for frame in frames[1:]) * 8 * 1e6 / duration_us


if __name__ == "__main__":
    import failures  # which needs what is above

    scenarios = vars(failures) | globals()
    print(json.dumps(scenarios[sys.argv[1]]()))  # noqa: T201 - this is how the host hears of it

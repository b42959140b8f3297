"""What picamera2 does when camagent's calls go well, and when not: one function each.

Runs with the real picamera2 in the Pi rig, and with the fake one anywhere; prints JSON.
"""

import fcntl
import io
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
import videodev2
from picamera2 import MappedArray, Picamera2
from picamera2.encoders.h264_encoder import H264Encoder
from picamera2.outputs import Output

from camagent.media.timestamp import read_timestamp

BUFFERS = 6
SIZE = (1280, 720)


class Collector(Output):
    """Keeps what the encoder made, and on which thread it came."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        self.frames: list[tuple[bytes, bool, int]] = []
        self.thread = 0
        self._fails_at = fails_at

    def outputframe(self, frame: bytes, keyframe: bool, timestamp: int, *_: object) -> None:
        self.thread = threading.get_ident()
        self.frames.append((bytes(frame), keyframe, timestamp))
        if len(self.frames) == self._fails_at:
            raise ValueError("from outputframe")


def opened(**options: Any) -> Any:
    camera = Picamera2(0)
    main = {"size": SIZE, "format": "YUV420"}
    options = {"raw": None, "buffer_count": BUFFERS, **options}
    camera.configure(camera.create_video_configuration(main=main, **options))
    return camera


def encoder(bitrate: int = 2_000_000) -> Any:
    return H264Encoder(bitrate=bitrate, iperiod=300, profile="constrained baseline")


def counting(camera: Any) -> list[int]:
    """Have the time of every picture of `camera` noted."""
    times: list[int] = []
    camera.post_callback = lambda request: times.append(request.get_metadata()["SensorTimestamp"])
    return times


def error_of(call: Callable[[], object]) -> list[str]:
    """Name what `call` raises, and say it; the cause is the third."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which one it is is the question
        return [type(error).__name__, str(error), type(error.__cause__).__name__]
    return []


def hangs(call: Callable[[], object], for_s: float = 2.0) -> bool:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(for_s)
    return thread.is_alive()


def until(claim: Callable[[], object], deadline_s: float = 10.0) -> None:
    end_s = time.monotonic() + deadline_s
    while not claim():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not so after {deadline_s} s")
        time.sleep(0.01)


def set_fault(kind: str, fault: str) -> None:
    Path(os.environ[kind]).write_text(fault)


def set_camera_fault(fault: str) -> None:
    set_fault("LIBCAMERA_VIRTUAL_FAULT", fault)


def absent() -> Any:
    return error_of(lambda: Picamera2(3))


def busy() -> Any:
    camera = opened()
    refused = error_of(lambda: Picamera2(0))
    camera.start()
    goes_on = "SensorTimestamp" in camera.capture_metadata(wait=2)
    camera.close()
    camera.close()
    opened().close()
    return {"refused": refused, "goes_on": goes_on}


def refused_files() -> Any:
    camera = opened()
    refused = Picamera2.__new__(Picamera2)
    error_of(lambda: refused.__init__(0))
    refused.close()
    after_refusal = ends_open(refused)
    refused.notifymeread.close()
    os.close(refused.notifyme_w)
    before_closing = ends_open(camera)
    camera.close()
    return {
        "after_refusal": after_refusal,
        "before_closing": before_closing,
        "after_closing": ends_open(camera),
    }


def ends_open(camera: Any) -> list[bool]:
    """Tell of both ends of a camera's pipe whether they are open."""
    return [not camera.notifymeread.closed, error_of(lambda: os.fstat(camera.notifyme_w)) == []]


def listing() -> Any:
    camera = opened()
    answer = {
        "info": Picamera2.global_camera_info(),
        "controls": camera.camera_controls,
        "properties": camera.camera_properties["PixelArraySize"],
        "modes": [mode["size"] for mode in camera.sensor_modes],
    }
    camera.close()
    return answer


def configuration() -> Any:
    camera = opened(lores={"size": (651, 361), "format": "YUV420"})
    seen = {name: dict(camera.camera_configuration()[name]) for name in ("main", "lores")}
    too_large = camera.create_video_configuration(
        main={"size": (640, 360), "format": "YUV420"}, lores={"size": SIZE}, raw=None
    )
    answer = {
        "streams": seen,
        "bad_key": error_of(lambda: camera.create_video_configuration(main={"width": 1})),
        "too_large": error_of(lambda: camera.configure(too_large)),
        "not_configured": error_of(lambda: camera.start_encoder(encoder(), Collector())),
    }
    camera.close()
    camera = opened()
    answer["no_stream"] = error_of(
        lambda: camera.start_encoder(encoder(), Collector(), name="lores")
    )
    camera.start()
    again = camera.camera_configuration()
    answer["while_started"] = error_of(lambda: camera.configure(again))
    camera.close()
    return answer


def controls() -> Any:
    camera = opened()
    unknown = error_of(lambda: camera.set_controls({"Zoom": 2}))
    camera.start()
    seen: list[dict[str, Any]] = []
    camera.post_callback = lambda request: seen.append(request.get_metadata())
    until(lambda: len(seen) > BUFFERS)
    start = len(seen)
    out_of_range = error_of(lambda: camera.set_controls({"Brightness": 99.0}))
    camera.set_controls({"ScalerCrop": (100, 100, 640, 360), "FrameRate": 10})
    until(lambda: tuple(seen[-1]["ScalerCrop"]) == (100, 100, 640, 360))
    late = next(
        n for n, metadata in enumerate(seen[start:]) if tuple(metadata["ScalerCrop"])[:1] == (100,)
    )
    duration_us = seen[-1]["FrameDuration"]
    camera.close()
    return {
        "unknown": unknown,
        "out_of_range": out_of_range,
        "pictures_late": late,
        "duration_us": duration_us,
    }


def stall() -> Any:
    camera = opened()
    camera.start()
    times = counting(camera)
    until(lambda: len(times) > 10)
    set_camera_fault("stall")
    time.sleep(1)
    before = len(times)
    newest_ns = camera.capture_metadata(wait=1)["SensorTimestamp"]
    age_s = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - newest_ns) / 1e9
    timed_out = error_of(lambda: camera.capture_metadata(wait=0.5))
    answer = {
        "pictures": len(times) - before,
        "stale_age_s": age_s,
        "timed_out": timed_out[0],
        "stop_hangs": hangs(camera.stop),
    }
    camera.cancel_all_and_flush()
    answer["close_hangs_after_flush"] = hangs(camera.close)
    set_camera_fault("")
    camera = opened()
    camera.start()
    answer["reopened"] = "SensorTimestamp" in camera.capture_metadata(wait=2)
    camera.close()
    return answer


def error_frames() -> Any:
    camera, output = opened(), Collector()
    camera.start_encoder(encoder(), output, name="main")
    camera.start()
    until(lambda: len(output.frames) > 10)
    set_camera_fault("error")
    time.sleep(0.5)
    before = len(output.frames)
    time.sleep(1)
    during = len(output.frames) - before
    set_camera_fault("")
    until(lambda: len(output.frames) > before + 10)
    camera.stop_encoder()
    camera.close()
    return {"during": during}


def encoder_refused() -> Any:
    camera, broken = opened(), encoder()
    fault = Path(os.environ["RIG_FAULT"]).read_text()
    refused = error_of(lambda: camera.start_encoder(broken, Collector(), name="main"))
    is_running = broken.running
    set_fault("RIG_FAULT", "")
    again = error_of(lambda: camera.start_encoder(broken, Collector(), name="main"))
    output = Collector()
    camera.start_encoder(encoder(), output, name="main")
    camera.start()
    until(lambda: len(output.frames) > 5)
    camera.stop_encoder()
    camera.close()
    return {"fault": fault, "refused": refused, "is_running": is_running, "again": again}


def encoder_hangs() -> Any:
    camera, output = opened(), Collector()
    times = counting(camera)
    camera.start_encoder(encoder(), output, name="main")
    camera.start()
    time.sleep(1.5)
    pictures = len(times)
    newest = camera.capture_metadata(wait=1)["SensorTimestamp"]
    started_s = time.monotonic()
    camera.stop_encoder()
    stopped_s = time.monotonic() - started_s
    until(lambda: len(times) > pictures + 10)
    camera.close()
    return {
        "pictures": pictures,
        "frames": len(output.frames),
        "is_stale": newest <= times[pictures - 1],
        "stopped_s": stopped_s,
    }


def outputframe_raises() -> Any:
    camera, output = opened(), Collector(fails_at=10)
    times = counting(camera)
    camera.start_encoder(encoder(), output, name="main")
    camera.start()
    until(lambda: len(output.frames) == 10)
    at_failure = len(times)
    time.sleep(1.5)
    more = len(times) - at_failure
    time.sleep(0.5)
    return {
        "frames": len(output.frames),
        "more_pictures": more,
        "still_more": len(times) - at_failure - more,
    }


def callback_raises(which: str) -> Any:
    camera, calls = opened(), []
    camera.start()

    def fail(_request: object) -> None:
        calls.append(1)
        raise ValueError("from a callback")

    setattr(camera, which, fail)
    time.sleep(1)
    return {
        "calls": len(calls),
        "stop_hangs": hangs(camera.stop),
        "close_hangs": hangs(camera.close),
    }


def pre_callback_raises() -> Any:
    return callback_raises("pre_callback")


def post_callback_raises() -> Any:
    return callback_raises("post_callback")


def threads() -> Any:
    camera, output, ids = opened(), Collector(), []
    camera.pre_callback = lambda _request: ids.append(threading.get_ident())
    camera.post_callback = lambda _request: ids.append(threading.get_ident())
    camera.start_encoder(encoder(), output, name="main")
    camera.start()
    until(lambda: len(output.frames) > 5)
    camera.stop_encoder()
    camera.close()
    return {
        "camera_threads": len(set(ids)),
        "is_callers": threading.get_ident() in {*ids, output.thread},
        "is_encoder_its_own": output.thread not in ids,
    }


def two_encoders() -> Any:
    camera = opened(lores={"size": (640, 360), "format": "YUV420"})
    times = counting(camera)
    encoders = {name: encoder() for name in ("main", "lores")}
    outputs = {name: Collector() for name in encoders}
    camera.start_encoder(encoders["main"], outputs["main"], name="main")
    camera.start()
    until(lambda: len(outputs["main"].frames) > 10)
    camera.start_encoder(encoders["lores"], outputs["lores"], name="lores")
    until(lambda: len(outputs["lores"].frames) > 20)
    before_us = gaps([frame[2] for frame in outputs["main"].frames])
    camera.stop_encoder(encoders["lores"])
    count = len(outputs["main"].frames)
    until(lambda: len(outputs["main"].frames) > count + 10)
    camera.stop_encoder()
    camera.close()
    clock_us = {time_ns // 1_000 for time_ns in times}
    absolute = {
        name: [encoders[name].firsttimestamp + frame[2] for frame in outputs[name].frames]
        for name in encoders
    }
    return {
        "first": [outputs[name].frames[0][2] for name in encoders],
        "later_us": encoders["lores"].firsttimestamp - encoders["main"].firsttimestamp,
        "is_one_clock": all(set(frames) <= clock_us for frames in absolute.values()),
        "gaps_before_stop_us": before_us,
        "gaps_us": gaps(absolute["main"]),
        "sizes": [decoded_size(outputs[name]) for name in encoders],
    }


def forced_keyframes() -> Any:
    camera, output, chip = opened(), Collector(), encoder()
    camera.start_encoder(chip, output, name="main")
    camera.start()
    until(lambda: len(output.frames) > 10)
    for _ in range(3):
        chip.force_key_frame()
    count = len(output.frames)
    until(lambda: len(output.frames) > count + 15)
    camera.stop_encoder()
    camera.close()
    keyframes = [n for n, frame in enumerate(output.frames) if frame[1]]
    units = output.frames[keyframes[-1]][0].split(b"\x00\x00\x01")[1:]
    return {
        "keyframes": keyframes,
        "nal_types": [unit[0] & 0x1F for unit in units],
        "profile": list(units[0][1:3]),
        "late": keyframes[1] - count,
        "pictures": decoded_count(output),
        "frames": len(output.frames),
    }


def bitrate() -> Any:
    camera, output, chip = opened(), Collector(), encoder()
    camera.start_encoder(chip, output, name="main")
    camera.start()
    until(lambda: len(output.frames) > 90)
    control = videodev2.v4l2_control()
    control.id, control.value = videodev2.V4L2_CID_MPEG_VIDEO_BITRATE, 500_000
    fcntl.ioctl(chip.vd, videodev2.VIDIOC_S_CTRL, control)
    changed = len(output.frames)
    until(lambda: len(output.frames) > changed + 90)
    frames = list(output.frames)
    device = chip.vd
    camera.stop_encoder()
    after = error_of(lambda: fcntl.ioctl(device, videodev2.VIDIOC_S_CTRL, control))
    camera.close()
    log = Path(os.environ["RIG_VIDEO11_LOG"]).read_text().splitlines()
    return {
        "before_bps": bits_per_second(frames[30:changed]),
        "after_bps": bits_per_second(frames[changed + 30 :]),
        "log": [line for line in log if line.startswith(f"ctrl {control.id:#x} ")],
        "after_stop": after[:1],
    }


def starvation() -> Any:
    camera = opened()
    camera.start()
    times = counting(camera)
    held = [camera.capture_request(wait=2) for _ in range(BUFFERS)]
    time.sleep(0.3)
    before = len(times)
    starved = error_of(lambda: camera.capture_request(wait=0.5))[:1]
    more = len(times) - before
    camera.cancel_all_and_flush()
    extra = held[0]
    extra.acquire()
    for request in held:
        request.release()
    goes_on = camera.capture_metadata(wait=2)["SensorTimestamp"] > times[before - 1]
    is_still_held = "SensorTimestamp" in extra.get_metadata()
    extra.release()
    answer = {
        "starved": starved,
        "more": more,
        "goes_on": goes_on,
        "is_still_held": is_still_held,
        "released_twice": error_of(extra.release),
        "acquired_late": error_of(released(camera).acquire),
    }
    camera.close()
    return answer


def released(camera: Any) -> Any:
    """Give a request that is no longer on loan."""
    request = camera.capture_request(wait=2)
    request.release()
    return request


def snapshot() -> Any:
    camera, output = opened(), Collector()
    camera.start_encoder(encoder(), output, name="main")
    camera.start()
    until(lambda: len(output.frames) > 10)
    asked_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    request = camera.capture_request(wait=2, flush=True)
    captured_ns = request.get_metadata()["SensorTimestamp"]
    picture = io.BytesIO()
    request.save("main", picture, format="jpeg")
    request.release()
    count = len(output.frames)
    until(lambda: len(output.frames) > count + 10)
    camera.stop_encoder()
    camera.close()
    data = picture.getvalue()
    with av.open(io.BytesIO(data)) as container:
        frame = next(container.decode(video=0))
    return {
        "start": data[:2].hex(),
        "size": [frame.width, frame.height],
        "is_fresh": captured_ns > asked_ns,
        "gaps_us": gaps([frame[2] for frame in output.frames]),
    }


def pictures() -> Any:
    """Read the time in the picture, with padding at the end of each row."""
    camera = opened(lores={"size": (650, 360), "format": "YUV420"})
    camera.start()
    seen = []
    for _ in range(3):
        request = camera.capture_request(wait=2)
        time_ns = request.get_metadata()["SensorTimestamp"]
        for name in ("main", "lores"):
            stream = camera.camera_configuration()[name]
            width, height = stream["size"]
            with MappedArray(request, name, reshape=False, write=False) as mapped:
                luma = mapped.array[: stream["stride"] * height].reshape(height, -1)[:, :width]
                seen.append(read_timestamp(luma) - time_ns)
                size = len(mapped.array) - stream["framesize"]
                # The real one complains at the end of memory that is still looked at.
                del luma
        request.release()
    camera.close()
    return {"wrong_by_ns": seen, "size": size}


def close_leaves_encoders() -> Any:
    camera, output, chip = opened(), Collector(), encoder()
    camera.start_encoder(chip, output, name="main")
    camera.start()
    until(lambda: len(output.frames) > 5)
    camera.close()
    is_running = chip.running
    return {"is_running": is_running, "stop_hangs": hangs(chip.stop)}


def gaps(times: list[int]) -> list[int]:
    return sorted({later - earlier for earlier, later in itertools.pairwise(times)})


def bits_per_second(frames: list[tuple[bytes, bool, int]]) -> float:
    return sum(len(frame[0]) for frame in frames[1:]) * 8e6 / (frames[-1][2] - frames[0][2])


def decode(output: Collector) -> list[Any]:
    decoder = av.CodecContext.create("h264", "r")
    decoded = [decoder.decode(av.Packet(frame[0])) for frame in output.frames]
    return [*itertools.chain(*decoded), *decoder.decode(None)]


def decoded_count(output: Collector) -> int:
    return len(decode(output))


def decoded_size(output: Collector) -> list[int]:
    picture = decode(output)[0]
    return [picture.width, picture.height]


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()), flush=True)  # noqa: T201 - the test reads it
    # What hangs would hang the interpreter's end as well.
    os._exit(0)

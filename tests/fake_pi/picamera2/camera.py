"""Picamera2: the camera's thread, its jobs and its encoders, in the order of the real one."""

import atexit
import json
import os
import threading
from pathlib import Path
from typing import Any, ClassVar, Self

from libcamera.sensor import Request, Sensor

from picamera2.configuration import checked_configuration, video_configuration
from picamera2.encoders.encoder import Encoder
from picamera2.loop import Captures, EventLoop
from picamera2.manager import CameraManager
from picamera2.platform import get_platform
from picamera2.request import CompletedRequest


class Picamera2(Captures):
    """One camera; see the real one for what each method promises."""

    platform = get_platform()
    _cm: ClassVar[CameraManager] = CameraManager()

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        told = ("Model", "Location", "Rotation")
        cameras = [
            {key.name: value for key, value in camera.properties.items() if key.name in told}
            | {"Id": camera.id, "Num": number}
            for number, camera in enumerate(Picamera2._cm.cms.cameras)
        ]
        return sorted(cameras, key=lambda camera: str(camera["Id"]), reverse=True)

    @staticmethod
    def load_tuning_file(tuning_file: str, dir: str | None = None) -> dict[str, Any]:  # noqa: A002 - so it is called
        path = Path(dir or "/usr/share/libcamera/ipa/rpi", tuning_file)
        if not path.is_file():
            raise RuntimeError("Tuning file not found")
        tuning: dict[str, Any] = json.loads(path.read_text())
        return tuning

    def __init__(self, camera_num: int = 0, tuning: str | None = None) -> None:
        super().__init__()
        os.environ.pop("LIBCAMERA_RPI_TUNING_FILE", None)
        if tuning is not None:
            os.environ["LIBCAMERA_RPI_TUNING_FILE"] = tuning
        # Open before the camera is, and closed by `close` only if that was.
        reader, self.notifyme_w = os.pipe2(os.O_NONBLOCK)
        self.notifymeread = os.fdopen(reader, "rb")
        self.is_open = self.started = False
        cameras = self.global_camera_info()
        if camera_num >= len(cameras):
            raise RuntimeError(
                f"No camera number {camera_num} found - "
                'use "rpicam-hello --list-cameras" to check connected cameras'
            )
        self.camera_idx = cameras[camera_num]["Num"]
        self.request_lock = threading.Lock()
        self.stop_count = 0
        self.options: dict[str, Any] = {}
        self.camera_config: dict[str, Any] = {}
        self.pre_callback: Any = None
        self.post_callback: Any = None
        self._encoders: set[Encoder] = set()
        self._controls: dict[str, Any] = {}
        camera = self._cm.cms.cameras[self.camera_idx]
        try:
            camera.acquire()
        except RuntimeError as error:
            raise RuntimeError("Camera __init__ sequence did not complete.") from error
        self.camera = camera
        self.is_open = True
        atexit.register(self.close)

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        return {
            key.name: (info.min, info.max, info.default)
            for key, info in self.camera.controls.items()
        }

    @property
    def camera_properties(self) -> dict[str, Any]:
        return {key.name: value for key, value in self.camera.properties.items()}

    @property
    def sensor_modes(self) -> list[dict[str, Any]]:
        width, height = self.camera.size
        return [
            {
                "format": "SRGGB10_CSI2P",
                "unpacked": "SRGGB10",
                "bit_depth": 10,
                "size": size,
                "fps": 120.0,
                "crop_limits": (0, 0, width, height),
                "exposure_limits": self.camera_controls["ExposureTime"],
            }
            for size in self.camera.modes
        ]

    def create_video_configuration(self, main: Any = None, **options: Any) -> dict[str, Any]:
        return video_configuration(main or {}, **options)

    def configure(self, camera_config: dict[str, Any]) -> None:
        if self.started:
            raise RuntimeError("Camera must be stopped before configuring")
        self.camera_config = {}
        self.camera_config = checked_configuration(camera_config, self.camera)
        self._controls = {}
        self.set_controls(self.camera_config["controls"])

    def camera_configuration(self) -> dict[str, Any]:
        return self.camera_config

    def set_controls(self, controls: dict[str, Any]) -> None:
        """Remember what the next recycled request is to carry; ranges are not checked."""
        for name, value in controls.items():
            real, told = name, value
            if name == "FrameRate":
                real, told = "FrameDurationLimits", (int(1_000_000 / value),) * 2
            if real not in self.camera_controls:
                raise RuntimeError(f"Control {real} is not advertised by libcamera")
            self._controls[real] = told

    def start(self) -> None:
        if not self.camera_config:
            raise RuntimeError("Camera has not been configured")
        if self._loop is None:
            self._loop = EventLoop(self)
        if self.started:
            return
        defaults = {name: values[2] for name, values in self.camera_controls.items()}
        told, self._controls = self._controls, {}
        # An exposure of zero is automatic; the default of a control is no wish.
        defaults |= {"ExposureTime": 0, "AnalogueGain": 0}
        self._sensor = Sensor(defaults | told, self._complete)
        streams = {
            name: self.camera_config[name]
            for name in ("main", "lores")
            if self.camera_config[name] is not None
        }
        self.started = True
        self._sensor.start()
        for _ in range(self.camera_config["buffer_count"]):
            self._sensor.queue(Request(streams))

    def recycle(self, request: Request) -> None:
        """Give a request back to the sensor, with the controls that were set meanwhile."""
        request.controls, self._controls = self._controls, {}
        self._sensor.queue(request)

    def _complete(self, request: Request) -> None:
        if self._loop is not None:
            self._loop.news.put(CompletedRequest(request, self))

    def stop(self) -> None:
        """Stop the camera, on its thread: hangs behind a job that waits, or if the thread died."""
        if not self.started:
            return
        if self._loop is not None:
            self.dispatch_functions([self._stop], wait=True, immediate=True)
        else:
            self._stop()

    def _stop(self) -> tuple[bool, None]:
        if self.started:
            self.stop_count += 1
            self._sensor.stop()
            self.started = False
            while self.completed_requests:
                self.completed_requests.pop(0).release()
        return True, None

    def close(self) -> None:
        atexit.unregister(self.close)
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
        if not self.is_open:
            return
        self.stop()
        self.camera.release()
        self.is_open = False
        self.camera_config = {}
        self.notifymeread.close()
        os.close(self.notifyme_w)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def process_requests(self, fresh: list[CompletedRequest]) -> None:
        """Handle new pictures; runs on the camera's thread, which an exception here ends."""
        requests = []
        for request in fresh:
            assert request.request is not None
            if request.request.is_good:
                requests.append(request)
            else:
                request.release()
        with self.lock:
            for request in requests:
                request.acquire()
                if self.pre_callback:
                    self.pre_callback(request)
            self.completed_requests += requests
            finished = self.run_jobs()
            for request in requests:
                self._encode(request)
            longest = int(self.camera_config["queue"] and self.camera_config["buffer_count"] > 1)
            while len(self.completed_requests) > longest:
                self.completed_requests.pop(0).release()
        for job in finished:
            job.signal()

    def _encode(self, request: CompletedRequest) -> None:
        if self.post_callback:
            self.post_callback(request)
        for encoder in self._encoders:
            assert encoder.name is not None
            encoder.encode(encoder.name, request)
        request.release()

    def start_encoder(
        self,
        encoder: Any,
        output: Any = None,
        pts: object = None,  # noqa: ARG002 - for outputs that write a file
        quality: object = None,
        name: str | None = None,
    ) -> None:
        if output is not None:
            encoder.output = output
        if not self.camera_config:
            raise RuntimeError("Camera has not been configured")
        name = name or self.camera_config["encode"]
        if self.camera_config.get(name) is None:
            raise RuntimeError(f"Encode stream {name} was not defined")
        stream = self.camera_config[name]
        encoder.name = name
        encoder.width, encoder.height = stream["size"]
        encoder.format, encoder.stride = stream["format"], stream["stride"]
        if encoder.framerate is None:
            encoder.framerate = 1_000_000 / 33_333
        encoder.start(quality=quality)
        with self.lock:
            self._encoders.add(encoder)

    def stop_encoder(self, encoders: Any = None) -> None:
        if encoders is None:
            encoders = list(self._encoders)
        elif isinstance(encoders, Encoder):
            encoders = [encoders]
        for encoder in encoders:
            encoder.stop()
        with self.lock:
            for encoder in encoders:
                self._encoders.remove(encoder)

    @property
    def encoders(self) -> set[Encoder]:
        return self._encoders

"""What every encoder has: a stream it encodes, outputs, and a clock that starts at zero."""

import threading
from typing import Any

from picamera2.outputs import Output
from picamera2.request import CompletedRequest


class Encoder:
    """Runs from `start` to `stop`; spoilt if `start` fails."""

    def __init__(self) -> None:
        self.width = self.height = self.stride = 0
        self.format: str | None = None
        self.name: str | None = None
        self.framerate: float | None = None
        self.firsttimestamp: int | None = None
        self.frame_skip_count = 1
        self._skip_count = 0
        self.frames_encoded = 0
        self._output: list[Any] = []
        self._running = False
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        return self._running

    @property
    def output(self) -> Any:
        return self._output[0] if len(self._output) == 1 else self._output

    @output.setter
    def output(self, value: Any) -> None:
        outputs = value if isinstance(value, list) else [value]
        if not all(isinstance(output, Output) for output in outputs):
            raise RuntimeError("Must pass Output")
        self._output = outputs

    def start(self, quality: object = None) -> None:  # noqa: ARG002 - camagent gives a bitrate
        with self._lock:
            if self._running:
                raise RuntimeError("Encoder already running")
            self.frames_encoded = 0
            # Before _start, which may fail: then it stays true.
            self._running = True
            self.firsttimestamp = None
            for output in self._output:
                output.start()
            self._start()

    def stop(self) -> None:
        with self._lock:
            if not self._running:
                raise RuntimeError("Encoder already stopped")
            self._running = False
            self._stop()
            for output in self._output:
                output.stop()

    def encode(self, stream: str, request: CompletedRequest) -> None:
        """Take a picture; called on the camera's thread, which holds the camera's lock."""
        if self._skip_count == 0:
            with self._lock:
                if not self._running:
                    return
                self._encode(stream, request)
        self._skip_count = (self._skip_count + 1) % self.frame_skip_count
        self.frames_encoded += 1

    def outputframe(self, frame: bytes, *, keyframe: bool, timestamp: int) -> None:
        for output in self._output:
            output.outputframe(frame, keyframe, timestamp, None, False)  # noqa: FBT003 - as picamera2 does

    def timestamp(self, request: CompletedRequest) -> int:
        """Give a picture's time in microseconds since this encoder's first."""
        captured_at_us: int = request.get_metadata()["SensorTimestamp"] // 1_000
        if self.firsttimestamp is None:
            self.firsttimestamp = captured_at_us
        return captured_at_us - self.firsttimestamp

    def _start(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError

    def _encode(self, stream: str, request: CompletedRequest) -> None:
        raise NotImplementedError

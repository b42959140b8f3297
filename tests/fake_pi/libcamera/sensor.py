"""The sensor: fills requests with moving pictures at the rate it was told, on its own thread."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

_STRIP_ROWS = 16
_AF_SCAN_PICTURES = 5
_BARS = np.array([180, 162, 131, 112, 84, 65, 35, 16], dtype=np.uint8)
_noise = np.random.default_rng(1).integers(96, 160, 1 << 21, dtype=np.uint8)


class Request:
    """Buffers on their way to the sensor and back."""

    def __init__(self, streams: dict[str, dict[str, Any]]) -> None:
        self.streams = streams
        self.buffers = {
            name: np.zeros(stream["framesize"], np.uint8) for name, stream in streams.items()
        }
        self.controls: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.is_good = True


class Sensor:
    """Works from `start` to `stop`; idle while no request is queued."""

    def __init__(self, controls: dict[str, Any], completed: Callable[[Request], None]) -> None:
        self._current = dict(controls)
        self._completed = completed
        self._queued: deque[Request] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._next_ns = 0
        self._count = 0
        self._af_scan = -1
        self._thread = threading.Thread(target=self._run, daemon=True, name="sensor")

    def start(self) -> None:
        self._thread.start()

    def queue(self, request: Request) -> None:
        with self._changed:
            self._queued.append(request)
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queued or self._is_stopping)
                if self._is_stopping:
                    return
                request = self._queued.popleft()
            self._current |= request.controls
            if request.controls.get("AfTrigger") == 0 and self._current.get("AfMode") == 1:
                self._af_scan = _AF_SCAN_PICTURES
            fault = self._wait_out_a_stall()
            if self._is_stopping:
                return
            self._expose(request, fault)
            self._completed(request)

    def _wait_out_a_stall(self) -> str:
        while (fault := word_in("LIBCAMERA_VIRTUAL_FAULT")) == "stall" and not self._is_stopping:
            self._next_ns = 0
            time.sleep(0.02)
        return fault

    def _expose(self, request: Request, fault: str) -> None:
        duration_us = int(self._current.get("FrameDurationLimits", (33_333,))[0])
        duration_us = max(1_000, min(duration_us, 1_000_000))
        if fault == "slow":
            duration_us = max(duration_us, 200_000)
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if self._next_ns == 0 or self._next_ns + 4_000 * duration_us < now_ns:
            self._next_ns = now_ns
        time.sleep(max(0, self._next_ns - now_ns) / 1e9)
        request.metadata = self._metadata(duration_us)
        request.is_good = fault != "error"
        for name, stream in request.streams.items():
            if stream["format"] == "YUV420":
                draw(request.buffers[name], stream, self._next_ns, self._count)
        self._next_ns += duration_us * 1_000
        self._count += 1

    def _metadata(self, duration_us: int) -> dict[str, Any]:
        told = self._current
        is_manual = bool(told.get("ExposureTime"))
        exposure_us = told["ExposureTime"] if is_manual else 10_000
        metadata = {
            "SensorTimestamp": self._next_ns,
            "FrameDuration": duration_us,
            "ExposureTime": min(exposure_us, duration_us),
            "AnalogueGain": told.get("AnalogueGain") or 2.0,
            "DigitalGain": 1.0,
            "Lux": 400.0,
            "ColourTemperature": 4_500,
            "ColourGains": (1.8, 1.6),
            "SensorTemperature": 40.0,
            "FocusFoM": 1_000,
            "ScalerCrop": tuple(told["ScalerCrop"]),
        }
        if "LensPosition" in told:
            state = self._focus(int(told.get("AfMode", 0)))
            metadata |= {"AfState": state, "LensPosition": told["LensPosition"]}
        return metadata

    def _focus(self, mode: int) -> int:
        """Give AfState: a scan goes on for some pictures from the trigger; see AfStateEnum."""
        if mode == 1 and self._af_scan > 0:
            self._af_scan -= 1
            return 1 if self._af_scan else 2
        return 2 if mode == 2 or (mode == 1 and self._af_scan == 0) else 0


def draw(buffer: Picture, stream: dict[str, Any], timestamp_ns: int, count: int) -> None:
    """Draw moving bars and a box, noise at the bottom, and the time as 64 cells at the top."""
    (width, height), stride = stream["size"], stream["stride"]
    luma = buffer[: stride * height].reshape(height, stride)[:, :width]
    chroma = buffer[stride * height :].reshape(height, stride // 2)[:, : width // 2]
    luma[:] = _BARS[(np.arange(width) + 4 * count) % width * 8 // width]
    chroma[:] = 128
    side = height // 8
    left = 8 * count % (width - side)
    luma[height // 2 : height // 2 + side, left : left + side] = 235
    noisy_percent = min(int(os.environ.get("LIBCAMERA_VIRTUAL_NOISE", "0")), 75)
    for row in range(height - height * noisy_percent // 100, height):
        start = (count * 7919 + row * 104729) % (len(_noise) - width)
        luma[row] = _noise[start : start + width]
    if cell_px := width // 64:
        bits = np.unpackbits(np.array([timestamp_ns], dtype=">u8").view(np.uint8))
        cells = np.where(bits, np.uint8(235), np.uint8(16))
        luma[:_STRIP_ROWS, : cell_px * 64] = np.repeat(cells, cell_px)


def word_in(variable: str) -> str:
    """Read the first word of the file that an environment variable names; empty if there is none."""
    try:
        return (Path(os.environ[variable]).read_text().split() or [""])[0]
    except (KeyError, OSError):
        return ""

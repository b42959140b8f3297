"""A picture with its metadata, on loan from the camera until it is released."""

import io
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from libcamera.sensor import Picture, Request


class CompletedRequest:
    """Counts its holders; the last to release gives the buffers back to the sensor."""

    def __init__(self, request: Request, camera: Any) -> None:
        self.request: Request | None = request
        self.ref_count = 1
        self.lock = camera.request_lock
        self.picam2 = camera
        self.stop_count = camera.stop_count
        self.config = camera.camera_config.copy()

    def acquire(self) -> None:
        with self.lock:
            if self.ref_count == 0:
                raise RuntimeError("CompletedRequest: acquiring lock with ref_count 0")
            self.ref_count += 1

    def release(self) -> None:
        with self.lock:
            self.ref_count -= 1
            if self.ref_count < 0:
                raise RuntimeError("CompletedRequest: lock now has negative ref_count")
            if self.ref_count == 0:
                if self.picam2.started and self.stop_count == self.picam2.stop_count:
                    assert self.request is not None
                    self.picam2.recycle(self.request)
                self.request = None
                self.config = {}

    def get_metadata(self) -> dict[str, Any]:
        assert self.request is not None
        return dict(self.request.metadata)

    def make_buffer(self, name: str) -> Picture:
        return self.buffer(name).copy()

    def buffer(self, name: str) -> Picture:
        """Give the memory of a stream itself."""
        assert self.request is not None
        if name not in self.request.buffers:
            raise RuntimeError(f"Stream {name!r} is not defined")
        return self.request.buffers[name]

    def save(self, name: str, file_output: Any, format: str | None = None) -> None:  # noqa: A002 - so it is called
        """Write a JPEG, on the caller's thread."""
        if self.config.get(name) is None:
            raise RuntimeError(f"Stream {name!r} is not defined")
        if isinstance(file_output, io.BytesIO) and format is None:
            raise RuntimeError("No format specified")
        data = _jpeg(self.buffer(name), self.config[name], self.picam2.options.get("quality", 90))
        if isinstance(file_output, io.BytesIO):
            file_output.write(data)
        else:
            Path(file_output).write_bytes(data)


class MappedArray:
    """A stream's memory, while the block runs."""

    def __init__(
        self,
        request: CompletedRequest,
        stream: str,
        reshape: bool = True,  # noqa: FBT002 - so it is called
        write: bool = True,  # noqa: FBT002, ARG002 - so it is called
    ) -> None:
        self._request, self._stream, self._reshape = request, stream, reshape
        self.array: Picture | None = None

    def __enter__(self) -> Self:
        self.array = self._request.buffer(self._stream)
        if self._reshape:
            self.array = self.array.reshape(-1, self._request.config[self._stream]["stride"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.array = None


def to_frame(
    buffer: Picture, stream: dict[str, Any], pixel_format: str = "yuv420p"
) -> av.VideoFrame:
    """Copy a stream's picture, without its padding."""
    (width, height), stride = stream["size"], stream["stride"]
    luma = buffer[: stride * height].reshape(height, stride)[:, :width]
    chroma = buffer[stride * height :].reshape(2, height // 2, stride // 2)[:, :, : width // 2]
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, source in zip(frame.planes, (luma, *chroma), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        rows[: source.shape[0], : source.shape[1]] = source
    return frame


def _jpeg(buffer: Picture, stream: dict[str, Any], quality: int) -> bytes:
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height = stream["size"]
    codec.pix_fmt = "yuvj420p"
    codec.time_base = Fraction(1, 30)
    codec.options = {"qmin": str(max(1, (100 - quality) // 4)), "qmax": "31"}
    packets = [*codec.encode(to_frame(buffer, stream, "yuvj420p")), *codec.encode(None)]
    return b"".join(bytes(packet) for packet in packets)

"""USB cameras, RTSP cameras and video files: whatever FFmpeg reads, encoded anew or as it is."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import av
import structlog
from av import Packet
from av.container import InputContainer

from camagent.errors import CameraError
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import Publish, Stream
from camagent.media.holders import who_holds
from camagent.media.overlay import OverlayNotice
from camagent.media.passthrough import PassedThrough, can_pass_through
from camagent.media.picture import Fitter
from camagent.media.software import SoftwareStream
from camagent.media.threads import thread_running

log = structlog.get_logger(__name__)

Item = TypeVar("Item", av.VideoFrame, "Packet[Any]")

_AS_IT_IS = (
    "neither size nor bitrate can be set, and keyframes come when the camera makes them; "
    "CAMAGENT_VIDEO__TRANSCODE=true encodes anew"
)
_OPEN_DEADLINE_S = 8.0
_READ_DEADLINE_S = 5.0
_LONGEST_GAP_S = 1.0
"""A file's pictures are shown at most this far apart, whatever its timestamps say."""


class ContainerSource:
    """A V4L2 device such as /dev/video0, a URL such as rtsp://…, or the path of a file.

    A file is played in real time, over and over. The end or failure of anything else ends the
    frames; closing tells why. `passes_through` allows H.264 to go on as it is, where it fits.
    """

    def __init__(self, options: EncoderOptions, *, url: str, passes_through: bool = True) -> None:
        self._options = options
        self._passes_through = passes_through
        self._url = url
        self._notice = OverlayNotice(options.overlay)

    @property
    def name(self) -> str:
        """What it is, for logs: the URL without what may be secret in it."""
        url = urlsplit(self._url)
        if not url.netloc:
            return self._url
        host = url.netloc.rpartition("@")[2]
        return f"{url.scheme}://{host}{url.path}"

    survives_failure = True

    @contextmanager
    def opened(self, publish: Publish) -> Iterator[Stream]:
        """Read while the block runs: decode and encode anew, or hand on what fits as it is.

        Raises:
            CameraError: it cannot be opened or holds no video; at the end, why frames ceased.
        """
        closing = threading.Event()
        with self._open() as container:
            video = container.streams.video[0]
            if self._passes_through and can_pass_through(video):
                log.info("container.passed_through", source=self.name, note=_AS_IT_IS)
                passed = PassedThrough(publish, video)
                self._notice.consider(passed)
                pass_on = partial(self._pass_on, container, passed, closing)
                with thread_running(pass_on, stop=closing.set, name="container"):
                    yield passed
                return
            stream = SoftwareStream(publish, self._options)
            pictures = self._timed(_pictures, container, closing)
            # Here, for it can take a camera seconds to come to its next keyframe.
            pictures = itertools.chain([next(pictures)], pictures)
            work = partial(self._encode, pictures, stream, closing)
            with (
                stream.main.running(),
                thread_running(work, stop=closing.set, name="container"),
            ):
                yield stream

    def _pass_on(
        self, container: InputContainer, passed: PassedThrough, closing: threading.Event
    ) -> None:
        for packet, captured_at_us in self._timed(_packets, container, closing):
            if closing.is_set():
                return
            passed.take(packet, captured_at_us=captured_at_us)

    def _encode(
        self,
        pictures: Iterator[tuple[av.VideoFrame, int]],
        stream: SoftwareStream,
        closing: threading.Event,
    ) -> None:
        fitter = Fitter(width_px=self._options.width_px, height_px=self._options.height_px)
        interval_us = 1_000_000 // self._options.frames_per_second
        due_us = 0
        for picture, captured_at_us in pictures:
            if closing.is_set():
                return
            # A source that is faster than asked for is thinned out; jitter is no reason to.
            if captured_at_us + interval_us // 2 >= due_us:
                due_us = max(due_us, captured_at_us - interval_us) + interval_us
                stream.take(fitter.fit(picture), captured_at_us=captured_at_us)

    def _timed(
        self,
        read: Callable[[InputContainer], Iterator[Item]],
        container: InputContainer,
        closing: threading.Event,
    ) -> Iterator[tuple[Item, int]]:
        """Yield what `read` gives and when it was captured, in microseconds, monotonic."""
        try:
            if self._is_file:
                yield from _looped(read, container, closing, reopen=self._open)
            else:
                yield from _live(read, container)
        except av.FFmpegError as error:
            # Without the cause: PyAV's errors quote the URL, with the password in it.
            raise CameraError(f"reading {self.name} failed: {error.strerror}") from None
        if not closing.is_set():
            raise CameraError(f"{self.name} came to its end")

    @property
    def _is_device(self) -> bool:
        return self._url.startswith("/dev/")

    @property
    def _is_file(self) -> bool:
        return not self._is_device and urlsplit(self._url).scheme in {"", "file"}

    def _open(self) -> InputContainer:
        container = self._open_device() if self._is_device else self._open_url()
        if not container.streams.video:
            container.close()
            raise CameraError(f"{self.name} holds no video")
        container.streams.video[0].thread_type = "SLICE"
        return container

    def _open_url(self) -> InputContainer:
        is_rtsp = urlsplit(self._url).scheme in {"rtsp", "rtsps"}
        return self._try_open(None, {"rtsp_transport": "tcp"} if is_rtsp else {})

    def _open_device(self) -> InputContainer:
        size = f"{self._options.width_px}x{self._options.height_px}"
        options = {"video_size": size, "framerate": str(self._options.frames_per_second)}
        try:
            # Raw pictures of this size fit through USB only a few times per second.
            return self._try_open("v4l2", options | {"input_format": "mjpeg"})
        except CameraError:
            return self._try_open("v4l2", options)

    def _try_open(self, container_format: str | None, options: dict[str, str]) -> InputContainer:
        try:
            return av.open(
                self._url,
                format=container_format,
                options=options,
                timeout=(_OPEN_DEADLINE_S, _READ_DEADLINE_S),
            )
        except (av.FFmpegError, ValueError) as error:
            reason = error.strerror if isinstance(error, av.FFmpegError) else "no such format"
            # Without the cause: PyAV's errors quote the URL, with the password in it.
            raise CameraError(
                f"{self.name} cannot be opened: {reason}{self._hint(error)}"
            ) from None

    def _hint(self, error: Exception) -> str:
        if not self._is_device:
            return ""
        if not Path(self._url).exists():
            return "; v4l2-ctl --list-devices shows the cameras there are"
        if isinstance(error, PermissionError):
            return "; is this user in the group video?"
        return f"; {who_holds(Path(self._url))}"


def _pictures(container: InputContainer) -> Iterator[av.VideoFrame]:
    return container.decode(video=0)


def _packets(container: InputContainer) -> Iterator["Packet[Any]"]:
    return (packet for packet in container.demux(video=0) if packet.size)


def _live(
    read: Callable[[InputContainer], Iterator[Item]],
    container: InputContainer,
) -> Iterator[tuple[Item, int]]:
    """Take them as they come."""
    for item in read(container):
        yield item, time.monotonic_ns() // 1_000


def _looped(
    read: Callable[[InputContainer], Iterator[Item]],
    container: InputContainer,
    closing: threading.Event,
    *,
    reopen: Callable[[], InputContainer],
) -> Iterator[tuple[Item, int]]:
    """Play a file over and over, each picture at its time."""
    interval_s = 1 / float(container.streams.video[0].average_rate or 25)
    due_at_s = time.monotonic()
    with contextlib.ExitStack() as reopened:
        while True:
            previous_s: float | None = None
            is_empty = True
            for item in read(container):
                at_s = _time_s(item)
                gap_s = interval_s
                if previous_s is not None and at_s is not None:
                    gap_s = min(max(0.0, at_s - previous_s), _LONGEST_GAP_S)
                previous_s, is_empty = at_s, False
                due_at_s = max(due_at_s + gap_s, time.monotonic() - _LONGEST_GAP_S)
                if closing.wait(max(0.0, due_at_s - time.monotonic())):
                    return
                yield item, int(due_at_s * 1_000_000)
            if is_empty:
                return
            try:
                container.seek(0)
            except av.FFmpegError:
                # A bare stream has no index to find its start by.
                reopened.close()
                container = reopened.enter_context(reopen())


def _time_s(item: "av.VideoFrame | Packet[Any]") -> float | None:
    if item.pts is None or item.time_base is None:
        return None
    return float(item.pts * item.time_base)

"""USB cameras, RTSP cameras and video files: whatever FFmpeg reads, encoded anew or as it is."""

import contextlib
import itertools
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import av
import structlog
from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream

from camagent.camera_url import public_name, scheme_of
from camagent.errors import CameraError
from camagent.media.allocation import bound_allocations
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import Publish, Stream
from camagent.media.holders import who_holds
from camagent.media.overlay import OverlayNotice
from camagent.media.passthrough import PassedThrough, can_pass_through
from camagent.media.picture import Fitter
from camagent.media.reading import (
    Item,
    Read,
    live,
    looped,
    packets,
    pictures,
)
from camagent.media.software import SoftwareStream
from camagent.media.threads import thread_running
from camagent.media.usb import fits, open_usb

log = structlog.get_logger(__name__)

_AS_IT_IS = (
    "neither size nor bitrate can be set, and no keyframe can be asked for: they come when the "
    "camera makes them; CAMAGENT_VIDEO__TRANSCODE=true encodes anew"
)
_READ_DEADLINE_S = 5.0


class ContainerSource:
    """A V4L2 device such as /dev/video0, a URL such as rtsp://…, or the path of a file.

    A file is played in real time, over and over. The end or failure of anything else ends the
    frames; closing tells why.

    Args:
        options: what is made of the pictures where they are encoded.
        url: as above.
        passes_through: H.264 may go on as it is, where it fits.
        connect_deadline_s: for connecting, and as long again for finding out what comes.
        picture_deadline_s: how long data may come without a keyframe, or a picture, in it.
    """

    def __init__(
        self,
        options: EncoderOptions,
        *,
        url: str,
        passes_through: bool = True,
        connect_deadline_s: float = 6.0,
        picture_deadline_s: float = 8.0,
    ) -> None:
        self._options = options
        self._passes_through = passes_through
        self._url = url
        self._connect_deadline_s = connect_deadline_s
        self._picture_deadline_s = picture_deadline_s
        self._told: tuple[str, str] | None = None
        self._notice = OverlayNotice(options.overlay)

    @property
    def name(self) -> str:
        """What it is, for logs: the URL without what may be secret in it."""
        return public_name(self._url)

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
            is_passed_through = self._fits(video)
            self._tell(video, is_passed_through=is_passed_through)
            if is_passed_through:
                yield from self._passed_through(container, publish, closing)
            else:
                yield from self._encoded(container, publish, closing)

    def _passed_through(
        self, container: InputContainer, publish: Publish, closing: threading.Event
    ) -> Iterator[Stream]:
        passed = PassedThrough(publish, container.streams.video[0])
        self._notice.consider(passed)
        with contextlib.closing(self._timed(packets, container, closing)) as coming:
            self._until_keyframe(passed, coming)
            work = partial(self._pass_on, coming, passed, closing)
            with thread_running(work, stop=closing.set, name="container"):
                yield passed

    def _encoded(
        self, container: InputContainer, publish: Publish, closing: threading.Event
    ) -> Iterator[Stream]:
        stream = SoftwareStream(publish, self._options)
        decoded = partial(pictures, deadline_s=self._picture_deadline_s)
        with contextlib.closing(self._timed(decoded, container, closing)) as coming:
            # Here, for it can take a camera seconds to come to its next keyframe.
            shown = itertools.chain([next(coming)], coming)
            work = partial(self._encode, shown, stream, closing)
            with stream.main.running(), thread_running(work, stop=closing.set, name="container"):
                yield stream

    def _fits(self, video: VideoStream) -> bool:
        """Tell whether `video` needs no encoder."""
        if not self._passes_through:
            return False
        return fits(video, self._options) if self._is_device else can_pass_through(video)

    def _tell(self, video: VideoStream, *, is_passed_through: bool) -> None:
        """Log what the camera gives, and what becomes of it; the same words only once."""
        options = self._options
        gives = _in_words(video)
        becomes = f"{options.width_px}x{options.height_px} at {options.frames_per_second}"
        note = _AS_IT_IS if is_passed_through else f"fitted into {becomes} and encoded by libx264"
        if self._told != (told := (gives, note)):
            self._told = told
            log.info("container.opened", source=self.name, gives=gives, note=note)

    def _until_keyframe(
        self, passed: PassedThrough, coming: "Iterator[tuple[Packet[Any], int]]"
    ) -> None:
        """Pass on frames up to the first that viewers can start with; a camera may take its time."""
        until_s = time.monotonic() + self._picture_deadline_s
        for packet, captured_at_us in coming:
            passed.take(packet, captured_at_us=captured_at_us)
            if passed.has_begun:
                return
            if time.monotonic() > until_s:
                raise CameraError(
                    f"{self.name} sent no keyframe for {self._picture_deadline_s:g} s; "
                    "set its keyframe interval (I-frame interval, GOP) to 2 s"
                )

    def _pass_on(
        self,
        coming: "Iterator[tuple[Packet[Any], int]]",
        passed: PassedThrough,
        closing: threading.Event,
    ) -> None:
        for packet, captured_at_us in coming:
            if closing.is_set():
                return
            passed.take(packet, captured_at_us=captured_at_us)

    def _encode(
        self,
        shown: Iterator[tuple[av.VideoFrame, int]],
        stream: SoftwareStream,
        closing: threading.Event,
    ) -> None:
        fitter = Fitter(width_px=self._options.width_px, height_px=self._options.height_px)
        interval_us = 1_000_000 // self._options.frames_per_second
        due_us = 0
        for picture, captured_at_us in shown:
            if closing.is_set():
                return
            # A source that is faster than asked for is thinned out; jitter is no reason to.
            if captured_at_us + interval_us // 2 >= due_us:
                due_us = max(due_us, captured_at_us - interval_us) + interval_us
                stream.take(fitter.fit(picture), captured_at_us=captured_at_us)

    def _timed(
        self, read: "Read[Item]", container: InputContainer, closing: threading.Event
    ) -> Generator[tuple[Item, int]]:
        """Yield what `read` gives and when it was captured, in microseconds, monotonic.

        To be closed before the container: what it holds may be the container's memory.
        """
        try:
            if self._is_file:
                yield from looped(read, container, closing, reopen=self._open)
            else:
                yield from live(read, container, closing)
        except av.FFmpegError as error:
            # Without the cause: PyAV's errors quote the URL, with the password in it.
            raise CameraError(f"reading {self.name} failed: {_reason(error)}") from None
        if not closing.is_set():
            raise CameraError(f"{self.name} came to its end")

    @property
    def _is_device(self) -> bool:
        return self._url.startswith("/dev/")

    @property
    def _is_file(self) -> bool:
        return not self._is_device and scheme_of(self._url) in {"", "file"}

    def _open(self) -> InputContainer:
        bound_allocations()
        until_s = time.monotonic() + self._connect_deadline_s
        try:
            container = self._open_device() if self._is_device else self._open_url()
        except (av.FFmpegError, ValueError) as error:
            # Without the cause: PyAV's errors quote the URL, with the password in it.
            reason = _reason(error)
            if time.monotonic() >= until_s:
                reason = f"no usable answer within {self._connect_deadline_s:g} s"
            raise CameraError(
                f"{self.name} cannot be opened: {reason}{self._hint(error)}"
            ) from None
        # FFmpeg makes pictures of text as well.
        if not container.streams.video or container.format.name == "tty":
            container.close()
            raise CameraError(f"{self.name} holds no video")
        container.streams.video[0].thread_type = "SLICE"
        return container

    def _open_url(self) -> InputContainer:
        is_rtsp = scheme_of(self._url) in {"rtsp", "rtsps"}
        # Sound is not even asked for.
        rtsp = {"rtsp_transport": "tcp", "allowed_media_types": "video"}
        return self._try_open(None, rtsp if is_rtsp else {})

    def _open_device(self) -> InputContainer:
        try_open = partial(self._try_open, "v4l2")
        return open_usb(try_open, self._options, passes_through=self._passes_through)

    def _try_open(self, container_format: str | None, options: dict[str, str]) -> InputContainer:
        return av.open(
            self._url,
            format=container_format,
            # As `options` they would set the decoder's size too, whatever the camera has.
            container_options=options,
            timeout=(self._connect_deadline_s, _READ_DEADLINE_S),
        )

    def _hint(self, error: Exception) -> str:
        if not self._is_device:
            return ""
        if not Path(self._url).exists():
            return "; v4l2-ctl --list-devices shows the cameras there are"
        if isinstance(error, PermissionError):
            return "; is this user in the group video?"
        return f"; {who_holds(Path(self._url))}"


def _reason(error: av.FFmpegError | ValueError) -> str:
    """Say why, without the URL."""
    match error:
        case av.error.ExitError():
            return "nothing came in time"
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            return f"{error.strerror}; are user and password right in scheme://USER:PASSWORD@HOST?"
        case av.error.HTTPNotFoundError():
            return f"{error.strerror}; is the path in the URL right?"
        case av.FFmpegError():
            return error.strerror or type(error).__name__
    return "no such format"


def _in_words(video: VideoStream) -> str:
    """Say which format, size and rate: `MJPEG 640x360 at 30`."""
    codec = video.codec_context
    name = {"h264": "H.264", "rawvideo": codec.pix_fmt or "raw"}.get(codec.name, codec.name.upper())
    profile = f" ({codec.profile})" if codec.name == "h264" and codec.profile else ""
    rate = f" at {float(video.average_rate):.4g}" if video.average_rate else ""
    size = f"{codec.width}x{codec.height}" if codec.width else "of unknown size"
    return f"{name}{profile} {size}{rate}"

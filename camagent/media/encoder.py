"""Encodes pictures to H.264 with libx264, on a thread of its own, for viewers who watch live.

    picture ──► one waiting picture ──► encoder thread ──► publish(frame)

A picture that comes while the encoder is behind takes the place of the waiting one, so delay never
builds up. Only pictures are dropped, never frames: those that follow an encoded frame refer to it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from camagent.errors import CameraError
from camagent.media.frame import MICROSECONDS, EncodedFrame, Publish
from camagent.media.thinning import Thinning
from camagent.media.threads import thread_running
from camagent.media.trimming import Trim

# ITU-T H.264, table A-1: level, macroblocks per picture, macroblocks per second. No level below
# 3.1, which is what browsers offer.
_LEVELS = (
    ("3.1", 3_600, 108_000),
    ("3.2", 5_120, 216_000),
    ("4.0", 8_192, 245_760),
    ("4.2", 8_704, 522_240),
    ("5.1", 36_864, 983_040),
)
_SEI_START = b"\x00\x00\x01\x06"
_NAL_START = b"\x00\x00\x01"


_LOW_HEIGHT_PX = 400
_LOW_SHARE = 5
_LEAST_BITRATE_BPS = 100_000
_WORTH_A_CHANGE = 0.01


def nothing() -> None:
    """Do it."""


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """What is encoded, and into how many bits; `bitrate_bps` is also the highest rate to be set.

    `overlay` is drawn after the time into each picture that libx264 encodes; None draws nothing.
    """

    width_px: int
    height_px: int
    frames_per_second: int
    bitrate_bps: int
    keyframe_interval_s: float
    overlay: str | None = None

    @property
    def keyframe_interval_pictures(self) -> int:
        """How many pictures from one keyframe to the next, if nobody asks for one."""
        return max(1, round(self.keyframe_interval_s * self.frames_per_second))

    def low(self) -> "EncoderOptions":
        """Give the same for the low rung: at most 400 rows, and a fifth of the bits."""
        divisor = max(2, -(-self.height_px // _LOW_HEIGHT_PX))
        return replace(
            self,
            width_px=self.width_px // divisor & ~1,
            height_px=self.height_px // divisor & ~1,
            bitrate_bps=max(_LEAST_BITRATE_BPS, self.bitrate_bps // _LOW_SHARE),
        )

    @property
    def level(self) -> str:
        """The lowest H.264 level that holds the pictures, at least 3.1."""
        macroblocks = -(-self.width_px // 16) * -(-self.height_px // 16)
        per_second = macroblocks * self.frames_per_second
        for level, most_macroblocks, most_per_second in _LEVELS:
            if macroblocks <= most_macroblocks and per_second <= most_per_second:
                return level
        size = f"{self.width_px}x{self.height_px} at {self.frames_per_second}"
        raise CameraError(f"{size} pictures per second is more than H.264 is used for here")


class H264Encoder:
    """One stream: Constrained Baseline, SPS and PPS with every IDR, one frame per picture at once.

    All methods return at once and may be called from any thread; `publish` is called on the
    encoder's own.

    `prepare` makes what is encoded out of a picture, on the encoder's thread; it may change the size.

    Attributes:
        pictures_dropped: how many pictures were not encoded, for the encoder was behind.

    Raises:
        CameraError: libx264 is missing or refuses the options.
    """

    encoder = "libx264"
    makes_keyframes = True

    def __init__(
        self,
        publish: Publish,
        options: EncoderOptions,
        *,
        prepare: Callable[[av.VideoFrame], av.VideoFrame] = lambda picture: picture,
    ) -> None:
        self._publish = publish
        self._highest_bps = options.bitrate_bps
        self._codec = _open_codec(options)
        self._prepare = prepare
        self._news = threading.Condition()
        self._waiting: _Picture | None = None
        self._is_keyframe_wanted = False
        self._is_stopping = False
        self._bitrate_bps = options.bitrate_bps
        self._newest_pts_us = -1
        self._pace = Thinning()
        self._trim = Trim()
        self.pictures_dropped = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Encode while the block runs.

        Raises:
            CameraError: encoding failed; no frame came after that, and the block's end tells.
        """
        with thread_running(self._run, stop=self._stop, name="encoder"):
            yield

    def encode(
        self, picture: av.VideoFrame, *, captured_at_us: int, done: Callable[[], None] = nothing
    ) -> None:
        """Encode `picture` next; it is the encoder's until it calls `done`.

        Args:
            picture: `yuv420p`, of the size in the options unless `prepare` makes it so.
            captured_at_us: the frame's `pts_us`. A picture no later than one before it is dropped.
            done: called once, from any thread, when the picture is read or dropped; never raises.
        """
        with self._news:
            if not self._is_keyframe_wanted and not self._pace.takes(captured_at_us):
                done()
                return
            dropped, self._waiting = self._waiting, _Picture(picture, captured_at_us, done)
            if self._is_stopping:
                dropped, self._waiting = self._waiting, None
            self._news.notify()
        if dropped is not None:
            self.pictures_dropped += 1
            dropped.done()

    def force_keyframe(self) -> None:
        """Make the next picture a keyframe. Calls before that picture count as one."""
        with self._news:
            self._is_keyframe_wanted = True

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at `bitrate_bps`, at most the one in the options, from the next picture on."""
        self._bitrate_bps = min(bitrate_bps, self._highest_bps)

    def set_frame_rate(self, frames_per_second: int) -> None:
        """Leave out pictures, evenly, so that no more than so many per second are encoded."""
        self._pace.set_rate(frames_per_second)

    def _run(self) -> None:
        while (waiting := self._next_picture()) is not None:
            try:
                self._encode(waiting)
            finally:
                waiting.done()

    def _encode(self, waiting: "_Picture") -> None:
        picture = self._prepare(waiting.picture)
        picture.pts, picture.time_base = waiting.captured_at_us, MICROSECONDS
        with self._news:
            wanted, self._is_keyframe_wanted = self._is_keyframe_wanted, False
        # Set on every picture: one from a decoder has a type of its own, which x264 would obey.
        picture.pict_type = PictureType.I if wanted else PictureType.NONE
        meant_bps = self._bitrate_bps
        asked_bps = min(self._highest_bps, self._trim.asked_bps(meant_bps))
        if abs((self._codec.bit_rate or 0) - asked_bps) > _WORTH_A_CHANGE * asked_bps:
            self._codec.bit_rate = asked_bps
        for packet in self._codec.encode(picture):
            assert packet.pts is not None, "the encoder got one"
            data = bytes(packet)
            if packet.is_keyframe:
                data = _without_user_data(data)
            self._trim.note(size_bytes=len(data), pts_us=packet.pts, meant_bps=meant_bps)
            self._publish(EncodedFrame(data, packet.pts, packet.is_keyframe))

    def _next_picture(self) -> "_Picture | None":
        """Wait for a picture that is later than those before; None when there will be no more."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting is not None or self._is_stopping)
                waiting, self._waiting = self._waiting, None
                is_stopping = self._is_stopping
            if waiting is None:
                return None
            if not is_stopping and waiting.captured_at_us > self._newest_pts_us:
                self._newest_pts_us = waiting.captured_at_us
                return waiting
            self.pictures_dropped += 1
            waiting.done()

    def _stop(self) -> None:
        with self._news:
            self._is_stopping = True
            self._news.notify()


@dataclass(frozen=True, slots=True)
class _Picture:
    """One that waits to be encoded."""

    picture: av.VideoFrame
    captured_at_us: int
    done: Callable[[], None]


def _open_codec(options: EncoderOptions) -> VideoCodecContext:
    try:
        codec = VideoCodecContext.create("libx264", "w")
    except ValueError as error:
        raise CameraError(
            "this PyAV has no libx264 to encode with; install one that has: pip install av"
        ) from error
    codec.width, codec.height = options.width_px, options.height_px
    codec.pix_fmt = "yuv420p"
    codec.time_base = MICROSECONDS
    codec.framerate = Fraction(options.frames_per_second)
    codec.gop_size = options.keyframe_interval_pictures
    codec.max_b_frames = 0
    codec.bit_rate = options.bitrate_bps
    # Frame threads would each delay the stream by one picture.
    codec.thread_count = 1
    codec.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "profile": "baseline",
        "level": options.level,
        "forced-idr": "1",
        # libx264 follows a change of bit_rate only with a buffer that is given here, as AVOptions.
        # A quarter of a second bounds the burst that a keyframe is.
        "maxrate": str(options.bitrate_bps),
        "bufsize": str(options.bitrate_bps // 4),
        # A keyframe is no better than what follows: on a slow link all waits for it.
        "x264-params": "ipratio=0.8",
    }
    try:
        codec.open()
    except av.FFmpegError as error:
        raise CameraError(f"libx264 refused {options}: {error}") from error
    return codec


def _without_user_data(access_unit: bytes) -> bytes:
    """Leave out x264's signature, an SEI of 600 bytes in the first access unit."""
    before, start, after = access_unit.partition(_SEI_START)
    return before + after[after.index(_NAL_START) :] if start else access_unit

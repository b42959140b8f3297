"""picamera2's H264Encoder: a thread that waits for the chip, and hands on what comes."""

import fcntl
import queue
import threading

import videodev2 as v4l2
from libcamera.sensor import word_in

from picamera2.encoders.chip import Chip
from picamera2.encoders.encoder import Encoder
from picamera2.request import CompletedRequest, to_frame

_POLL_S = 0.4
_DEFAULT_BPS_1080P30 = 6_000_000


class H264Encoder(Encoder):
    """Encodes in the chip."""

    def __init__(  # noqa: PLR0917 - so it is called
        self,
        bitrate: int | None = None,
        repeat: bool = True,  # noqa: FBT002 - so it is called
        iperiod: int | None = None,
        framerate: float | None = None,
        enable_sps_framerate: bool = False,  # noqa: FBT002, ARG002 - so it is called
        qp: int | None = None,
        profile: str | None = None,
    ) -> None:
        super().__init__()
        self.bitrate, self.iperiod, self.framerate = bitrate, iperiod, framerate
        self.repeat, self.qp, self.profile = repeat, qp, profile
        self.vd: Chip | None = None
        self._key_frames_requested = 0
        self._key_frames_generated = 0

    def force_key_frame(self) -> None:
        """Ask for one more keyframe: requests are counted."""
        self._key_frames_requested += 1

    def _start(self) -> None:
        self.vd = Chip(self.width, self.height, self.framerate or 30)
        self._taken: queue.Queue[tuple[str, CompletedRequest, int]] = queue.Queue()
        self.thread = threading.Thread(target=self._hand_on, daemon=True, name="encoder")
        self.thread.start()
        if self.bitrate is None:
            of_1080p = self.width * self.height / (1920 * 1080)
            self.bitrate = int(_DEFAULT_BPS_1080P30 * of_1080p * (self.framerate or 30) / 30)
        self._control(v4l2.V4L2_CID_MPEG_VIDEO_BITRATE, self.bitrate)
        if self.profile:
            constrained = v4l2.V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE
            self._control(v4l2.V4L2_CID_MPEG_VIDEO_H264_PROFILE, constrained)
        if self.iperiod is not None:
            self._control(v4l2.V4L2_CID_MPEG_VIDEO_H264_I_PERIOD, self.iperiod)
        if self.repeat:
            self._control(v4l2.V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER, 1)
        self.vd.stream_on()

    def _control(self, identifier: int, value: int) -> None:
        fcntl.ioctl(self.vd, v4l2.VIDIOC_S_CTRL, v4l2.v4l2_control(identifier, value))

    def _stop(self) -> None:
        self.thread.join()
        assert self.vd is not None
        self.vd.close()

    def _encode(self, stream: str, request: CompletedRequest) -> None:
        if self.vd is None or self.vd.closed:
            return
        if self._key_frames_requested > self._key_frames_generated:
            self._key_frames_generated += 1
            self._control(v4l2.V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME, 1)
        request.acquire()
        self._taken.put((stream, request, self.timestamp(request)))

    def _hand_on(self) -> None:
        while self._running or not self._taken.empty():
            if word_in("RIG_FAULT") == "enc-hang":
                if self._has_given_up():
                    return
                continue
            try:
                stream, request, timestamp = self._taken.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            frame = to_frame(request.buffer(stream), request.config[stream])
            assert self.vd is not None
            data, is_keyframe = self.vd.encode(frame)
            request.release()
            self.outputframe(data, keyframe=is_keyframe, timestamp=timestamp)

    def _has_given_up(self) -> bool:
        """Wait once for a chip that hangs; once stopped, let its pictures go."""
        threading.Event().wait(_POLL_S)
        while not self._running and not self._taken.empty():
            self._taken.get()[1].release()
        return not self._running

"""Which of its formats a USB camera is opened with.

H.264     if it can be handed on as it is
MJPEG     raw pictures of a usual size fit through USB only a few times per second
the rest  raw pictures, most often YUYV; H.264 that has to be decoded if there is nothing else
"""

from collections.abc import Callable

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from camagent.media.encoder import EncoderOptions
from camagent.media.passthrough import can_pass_through

_RATE_TOLERANCE = 1.02
"""29.97 pictures per second are thirty."""


def open_usb(
    try_open: Callable[[dict[str, str]], InputContainer],
    options: EncoderOptions,
    *,
    passes_through: bool,
) -> InputContainer:
    """Open the camera with the first of these formats that it has.

    The driver takes the size and rate nearest to those of `options`.

    Args:
        try_open: opens it with these options of FFmpeg's v4l2 demuxer.
        options: what was asked for.
        passes_through: whether H.264 may go on as it is.

    Raises:
        av.FFmpegError: it cannot be opened, whatever the format.
    """
    size = f"{options.width_px}x{options.height_px}"
    wanted = {"video_size": size, "framerate": str(options.frames_per_second)}
    if passes_through:
        container = _with_format("h264", try_open, wanted)
        if container is not None:
            if fits(container.streams.video[0], options):
                return container
            container.close()
    return _with_format("mjpeg", try_open, wanted) or try_open(wanted)


def fits(stream: VideoStream, options: EncoderOptions) -> bool:
    """Tell whether a USB camera's stream needs no encoder: neither its size nor its rate can change.

    What is slower than asked for fits, for no format of the camera would be faster.
    """
    most = options.frames_per_second * _RATE_TOLERANCE
    has_size = (stream.width, stream.height) == (options.width_px, options.height_px)
    return can_pass_through(stream) and has_size and float(stream.average_rate or 0) <= most


def _with_format(
    input_format: str,
    try_open: Callable[[dict[str, str]], InputContainer],
    wanted: dict[str, str],
) -> InputContainer | None:
    """Give None if the camera does not have the format; what else is wrong is so with any."""
    try:
        return try_open(wanted | {"input_format": input_format})
    except av.error.ArgumentError:
        return None

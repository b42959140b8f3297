"""Bounds the memory that FFmpeg takes at once: how large a picture is, a camera may claim anything."""

import ctypes

import av

LARGEST_BYTES = 32 << 20
"""Room for a raw picture of 3840x2160; what is encoded is far smaller."""


def bound_allocations() -> None:
    """Let FFmpeg refuse to allocate more than that at once, in this process, from now on."""
    # The module itself has no such symbol; it is looked up in the libraries that it is linked to.
    ffmpeg = ctypes.CDLL(av.packet.__file__)
    ffmpeg.av_max_alloc.argtypes, ffmpeg.av_max_alloc.restype = [ctypes.c_size_t], None
    ffmpeg.av_max_alloc(LARGEST_BYTES)

"""Frames that come encoded as viewers need them, handed on as they are: no decoder, no encoder.

Whoever encodes them decides when a keyframe comes and how many bits they have.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from camagent.errors import CameraError
from camagent.media.frame import EncodedFrame, Encoding, Publish
from camagent.media.group import Group
from camagent.media.picture import as_jpeg

_START = b"\x00\x00\x01"
_IDR, _SPS, _PPS = 5, 7, 8
_SLICES = frozenset({1, 2, _IDR})
_BASELINE_IDC = 66
_FITTING_PROFILES = frozenset({"Baseline", "Constrained Baseline"})
_AVC_CONFIGURATION = b"\x01"
"""How the parameter sets of MP4 begin (ISO/IEC 14496-15), where Annex B has a start code."""


def can_pass_through(stream: VideoStream) -> bool:
    """Tell whether any browser decodes `stream` as it is: baseline, which has no B-frames."""
    codec = stream.codec_context
    return codec.name == "h264" and codec.profile in _FITTING_PROFILES


class PassedThrough:
    """A stream and its main rung in one, fed with packets by its source.

    Attributes:
        has_begun: true once a keyframe came; nothing is handed on before.
    """

    encoder = "the camera itself"
    makes_keyframes = False

    def __init__(self, publish: Publish, stream: VideoStream) -> None:
        extradata = stream.codec_context.extradata or b""
        is_annex_b = not extradata.startswith(_AVC_CONFIGURATION)
        self._filter = None if is_annex_b else BitStreamFilterContext("h264_mp4toannexb", stream)
        self._parameter_sets = extradata if is_annex_b else b""
        self._publish = publish
        self._group = Group()
        self._newest_pts_us = -1
        self.has_begun = False

    @property
    def main(self) -> Encoding:
        """Itself."""
        return self

    def take(self, packet: "av.Packet[Any]", *, captured_at_us: int) -> None:
        """Hand on one access unit; what comes before the first keyframe is of no use.

        Raises:
            CameraError: from here on not every browser decodes it.
        """
        for unit in self._filter.filter(packet) if self._filter is not None else [packet]:
            data = bytes(unit)
            types = nal_types(data)
            if _SPS in types:
                self._parameter_sets = _fitting_parameter_sets(data)
            is_keyframe = _IDR in types
            self.has_begun = self.has_begun or is_keyframe
            # Some cameras send parameter sets by themselves; they go with the keyframe.
            if not self.has_begun or types.isdisjoint(_SLICES):
                continue
            if is_keyframe and _SPS not in types:
                data = self._parameter_sets + data
            self._newest_pts_us = max(captured_at_us, self._newest_pts_us + 1)
            frame = EncodedFrame(data, self._newest_pts_us, is_keyframe)
            self._group.add(frame)
            self._publish(frame)

    def force_keyframe(self) -> None:
        """Nothing: the next one comes when it comes."""

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Nothing: the rate is the camera's."""

    def set_frame_rate(self, frames_per_second: int) -> None:
        """Nothing: so is this one."""

    @contextmanager
    def low_rung(self, _publish: Publish) -> Iterator[Encoding]:
        """Refuse.

        Raises:
            CameraError: always; nothing here makes smaller pictures.
        """
        raise CameraError("frames that come encoded have no low rung")
        yield self

    def snapshot(self) -> bytes:
        """Decode what came since the last keyframe, and give its newest picture as JPEG.

        Raises:
            CameraError: the last keyframe is too long ago, or the frames are broken.
        """
        decoder = VideoCodecContext.create("h264", "r")
        picture = None
        try:
            for frame in tuple(self._group.frames):
                for picture in decoder.decode(av.Packet(frame.data)):  # noqa: B007 - the last counts
                    pass
        except av.FFmpegError as error:
            raise CameraError(f"the stream cannot be decoded: {error.strerror}") from error
        if picture is None:
            raise CameraError("no keyframe came for a while, so there is nothing to decode")
        return as_jpeg(picture)


def nal_types(data: bytes) -> set[int]:
    """Name the types of NAL unit in an Annex B byte stream (ITU-T H.264, table 7-1)."""
    return {data[at] & 0x1F for at in _nal_starts(data)}


def _nal_starts(data: bytes) -> Iterator[int]:
    """Give where each NAL unit begins, behind its start code."""
    at = data.find(_START)
    while 0 <= at < len(data) - len(_START):
        yield at + len(_START)
        at = data.find(_START, at + len(_START))


def _fitting_parameter_sets(data: bytes) -> bytes:
    """Take the SPS and PPS out of `data`.

    Raises:
        CameraError: the SPS is of another profile than baseline (section 7.4.2.1.1).
    """
    starts = [*_nal_starts(data), len(data) + len(_START)]
    sets = b""
    for start, following in itertools.pairwise(starts):
        unit = data[start : following - len(_START)]
        if unit[0] & 0x1F == _SPS and unit[1:2] != bytes((_BASELINE_IDC,)):
            raise CameraError("the camera changed to an H.264 profile that has to be encoded anew")
        if unit[0] & 0x1F in (_SPS, _PPS):
            sets += _START + unit
    return sets

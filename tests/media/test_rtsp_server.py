"""What the RTSP server of the tests promises: plain FFmpeg sees in it an IP camera."""

import collections
import contextlib
import itertools

import av
import pytest

from camagent.media.picture import planes_of
from camagent.media.timestamp import read_timestamp
from tests.media.footage import STARTS_AT_US, Footage
from tests.media.rtsp import (
    PASSWORD,
    USER,
    Name,
    RtspServer,
)
from tests.media.streams import IDR, PPS, SPS, nal_units

FOOTAGE = Footage(frames_per_second=25, seconds=1)
PICTURES = FOOTAGE.frames_per_second * FOOTAGE.seconds
TICKS = 90_000 // FOOTAGE.frames_per_second
LOOK = 35  # at so many pictures, of which some are shown once more


def opened(url: str, transport: str = "tcp") -> av.container.InputContainer:
    options = {"rtsp_transport": transport, "timeout": "10000000"}
    return av.open(url, container_options=options)


def number_shown(picture: av.VideoFrame) -> int:
    shown_us = read_timestamp(planes_of(picture.reformat(format="yuv420p"))[0]) - STARTS_AT_US
    return round(shown_us * FOOTAGE.frames_per_second / 1_000_000)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("name", "profile", "has_b_frames"),
    [
        ("baseline", "Constrained Baseline", False),
        ("sdp-only", "Constrained Baseline", False),
        ("high", "High", True),
    ],
)
def test_a_stream_is_live_and_endless(
    server: RtspServer, name: Name, profile: str, has_b_frames: bool, transport: str
) -> None:
    """Its pictures come in order, a period apart, and begin again at the end."""
    with opened(server.url(name), transport) as camera:
        codec = camera.streams.video[0].codec_context
        seen = zip(camera.decode(video=0), range(LOOK), strict=False)
        pictures = [picture for picture, _ in seen]

        assert (codec.width, codec.height, codec.profile) == (640, 360, profile)
        assert bool(codec.has_b_frames) == has_b_frames
    numbers = [number_shown(picture) for picture in pictures]
    assert numbers == [(numbers[0] + later) % PICTURES for later in range(LOOK)]
    # FFmpeg does not know the first one's time.
    times = [picture.pts for picture in pictures[1:] if picture.pts is not None]
    assert len(times) == LOOK - 1
    assert all(0 < later - earlier < 2 * TICKS for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize(("name", "has_sets"), [("baseline", True), ("sdp-only", False)])
def test_parameter_sets_come_where_they_should(
    server: RtspServer, name: Name, has_sets: bool
) -> None:
    """Before each keyframe, or in the session description alone."""
    with opened(server.url(name)) as camera:
        extradata = camera.streams.video[0].codec_context.extradata
        packets = [
            bytes(packet) for packet, _ in zip(camera.demux(video=0), range(30), strict=False)
        ]

    assert extradata is not None
    assert [kind(unit) for unit in nal_units(extradata)] == [SPS, PPS]
    kinds = [[kind(unit) for unit in nal_units(packet)] for packet in packets]
    keyframes = [those for those in kinds if IDR in those]
    assert keyframes
    assert all(({SPS, PPS} <= set(those)) == has_sets for those in keyframes)


def test_a_password_lets_in_who_has_it(server: RtspServer) -> None:
    """Others get an authorization error."""
    with opened(server.url("password", user=USER, password=PASSWORD)) as camera:
        assert next(camera.decode(video=0)).width == 640
    for user, password in (("", ""), (USER, "wrong")):
        with pytest.raises(av.error.HTTPUnauthorizedError):
            opened(server.url("password", user=user, password=password))


def test_an_unknown_stream_is_not_found(server: RtspServer) -> None:
    """The error is RTSP's own 404."""
    with pytest.raises(av.error.HTTPNotFoundError):
        opened(server.url("baseline") + "-not")


def test_killing_the_server_ends_the_reading(server: RtspServer) -> None:
    """And on the same port it can be had again."""
    with opened(server.url("baseline")) as camera:
        pictures = camera.decode(video=0)
        next(pictures)
        server.kill()
        # An error, or an end: FFmpeg gives both.
        with contextlib.suppress(av.error.FFmpegError):
            collections.deque(pictures, maxlen=0)
    with pytest.raises(av.error.ConnectionRefusedError):
        opened(server.url("baseline"))

    server.start()

    with opened(server.url("baseline")) as camera:
        assert next(camera.decode(video=0)).width == 640


def kind(unit: bytes) -> int:
    return unit[0] & 0x1F

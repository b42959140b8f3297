"""What becomes of H.264 that needs no encoder: it is handed on as it is, and joined where it can be."""

import asyncio
import itertools
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.errors import CameraError
from camagent.media.capture import Capture
from camagent.media.capture_state import CaptureState
from camagent.media.container import ContainerSource
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import EncodedFrame, Stream
from camagent.media.group import LONGEST_US, MOST_BYTES, Group
from camagent.media.hub import VideoHub
from camagent.media.passthrough import PassedThrough, nal_types
from camagent.media.snapshot import take_snapshot
from tests.media.footage import Footage, Profile
from tests.media.rtsp import RtspServer
from tests.media.streams import Collector, decode
from tests.support import running, until

FOOTAGE = Footage(width_px=320, height_px=180, seconds=1)
OPTIONS = EncoderOptions(
    width_px=160, height_px=90, frames_per_second=30, bitrate_bps=200_000, keyframe_interval_s=10
)


def source(url: str | Path, *, passes_through: bool = True) -> ContainerSource:
    return ContainerSource(OPTIONS, url=str(url), passes_through=passes_through)


def write(
    path: Path,
    *,
    profile: Profile = "baseline",
    b_frames: int = 0,
    footage: Footage = FOOTAGE,
) -> Path:
    """Write a file, raw or MP4 by its name, whose parameter sets are where its format has them."""
    packets, parameter_sets = footage.h264(profile=profile, b_frames=b_frames)
    if path.suffix == ".h264":
        path.write_bytes(parameter_sets + b"".join(bytes(packet) for packet in packets))
        return path
    rate = footage.frames_per_second
    options = {"profile": profile, "x264-params": f"keyint={rate}:scenecut=0:bframes={b_frames}"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = footage.width_px, footage.height_px, "yuv420p"
        for picture in footage.pictures():
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["raw.h264", "clip.mp4"])
def test_a_fitting_file_is_handed_on_as_it_is(tmp_path: Path, name: str) -> None:
    """Size and slices are the file's, each keyframe has its parameter sets, and it loops."""
    viewer = Collector()
    path = write(tmp_path / name)
    with source(path).opened(viewer.take) as stream:
        frames = viewer.wait(70)
        encoder = stream.main.encoder
        still = stream.snapshot()

    assert encoder == "the camera itself"
    with av.open(str(path)) as container:
        slices = [bytes(packet)[4:60] for packet in container.demux(video=0) if packet.size]
    for number in range(1, 30):
        assert slices[number] in frames[number].data
    keyframes = [number for number, frame in enumerate(frames) if frame.is_keyframe]
    assert keyframes == [0, 30, 60]
    assert all({7, 8, 5} <= nal_types(frames[number].data) for number in keyframes)
    assert {(picture.width, picture.height) for picture in decode(frames)} == {(320, 180)}
    gaps_us = [later.pts_us - earlier.pts_us for earlier, later in itertools.pairwise(frames)]
    assert min(gaps_us) > 0
    assert still[:2] == b"\xff\xd8"


@pytest.mark.parametrize(("profile", "b_frames"), [("high", 0), ("main", 2)])
def test_what_does_not_fit_is_encoded_anew(tmp_path: Path, profile: Profile, b_frames: int) -> None:
    """Not every browser decodes it, or its frames are not in order."""
    path = write(tmp_path / "clip.mp4", profile=profile, b_frames=b_frames)
    assert encoder_and_size(source(path)) == ("libx264", (160, 90))


def test_passing_through_can_be_forbidden(tmp_path: Path) -> None:
    """Then it is encoded anew, with the size and rate of the settings."""
    path = write(tmp_path / "raw.h264")
    assert encoder_and_size(source(path, passes_through=False)) == ("libx264", (160, 90))


def encoder_and_size(its_source: ContainerSource) -> tuple[str, tuple[int, int]]:
    viewer = Collector()
    with its_source.opened(viewer.take) as stream:
        picture = decode(viewer.wait(5))[0]
        return stream.main.encoder, (picture.width, picture.height)


def test_it_has_no_low_rung(tmp_path: Path) -> None:
    """Nothing here makes smaller pictures, and that is said."""

    def start(stream: Stream) -> None:
        with stream.low_rung(lambda _frame: None):
            pass

    with (
        source(write(tmp_path / "raw.h264")).opened(lambda _frame: None) as stream,
        pytest.raises(CameraError, match="no low rung"),
    ):
        start(stream)


@pytest.mark.parametrize("late", [3, 40])
async def test_a_joiner_starts_with_the_last_keyframe(tmp_path: Path, late: int) -> None:
    """Who comes in the middle of a group, the first as well, gets it from its start; none is asked for."""
    capture = Capture(
        source(write(tmp_path / "raw.h264")),
        linger_s=0,
        is_always_on=False,
        retry_delays=lambda: itertools.repeat(0.01),
    )
    first, joiner = Collector(), Collector()
    async with running(capture.run()):
        with capture.watched(), capture.hub.subscribed(first):
            await until(lambda: len(first.frames) > late and not first.frames[-1].is_keyframe)
            asked = capture.hub.keyframes_forced
            with capture.hub.subscribed(joiner):
                assert joiner.frames[0].is_keyframe
                assert joiner.frames == first.frames[-len(joiner.frames) :]
                await until(lambda: len(joiner.frames) > 40)
            assert (await take_snapshot(capture))[:2] == b"\xff\xd8"
        await until(lambda: capture.state is CaptureState.IDLE)
        assert capture.hub.keyframes_forced == asked
        with capture.hub.subscribed(much_later := Collector()):
            assert much_later.frames == []
    assert len(decode(joiner.frames)) == len(joiner.frames)


def test_a_stream_may_change_its_size(tmp_path: Path) -> None:
    """Handed on, it changes for viewers too; encoded anew, it is fitted into what they have."""
    footage = Footage(width_px=160, height_px=120, seconds=1)
    smaller = write(tmp_path / "smaller.h264", footage=footage)
    path = write(tmp_path / "raw.h264")
    path.write_bytes(path.read_bytes() + smaller.read_bytes())

    for passes_through, sizes in ((True, {(320, 180), (160, 120)}), (False, {(160, 90)})):
        viewer = Collector()
        with source(path, passes_through=passes_through).opened(viewer.take):
            pictures = decode(viewer.wait(45))
        assert {(picture.width, picture.height) for picture in pictures} == sizes


def test_a_stream_that_ceases_to_fit_ends(tmp_path: Path) -> None:
    """What not every browser decodes is not handed on; opened anew, it is encoded."""
    viewer = Collector()
    with av.open(str(write(tmp_path / "raw.h264"))) as container:
        passed = PassedThrough(viewer.take, container.streams.video[0])
    passed.take(keyframe("baseline"), captured_at_us=1)
    with pytest.raises(CameraError, match=r"changed to an H.264 profile"):
        passed.take(keyframe("main"), captured_at_us=2)
    assert len(viewer.frames) == 1


def keyframe(profile: Profile) -> av.Packet:
    packets, sets = FOOTAGE.h264(profile=profile)
    return av.Packet(sets + bytes(packets[0]))


def test_parameter_sets_go_with_each_keyframe(tmp_path: Path) -> None:
    """Also where the camera sends them once, and by themselves."""
    packets, sets = FOOTAGE.h264()
    viewer = Collector()
    with av.open(str(write(tmp_path / "raw.h264"))) as container:
        passed = PassedThrough(viewer.take, container.streams.video[0])
    passed.take(packets[1], captured_at_us=1)
    passed.take(av.Packet(sets), captured_at_us=2)
    assert not passed.has_begun
    for number, packet in enumerate((packets[0], packets[1], packets[0])):
        passed.take(packet, captured_at_us=3 + number)

    assert [frame.is_keyframe for frame in viewer.frames] == [True, False, True]
    assert nal_types(viewer.frames[0].data) >= {7, 8, 5}
    assert viewer.frames[2].data == viewer.frames[0].data


def frame(at_us: int, *, size: int = 10, is_keyframe: bool = False) -> EncodedFrame:
    return EncodedFrame(bytes(size), at_us, is_keyframe)


def test_a_group_is_bounded() -> None:
    """It is let go of past 2 s or 4 MB, and begins again at the next keyframe."""
    group = Group()
    group.add(frame(0))
    assert group.frames == []
    for length_us, size in ((LONGEST_US + 1, 10), (1, MOST_BYTES)):
        group.add(frame(0, is_keyframe=True))
        assert len(group.frames) == 1
        group.add(frame(length_us, size=size))
        group.add(frame(length_us + 1))
        assert group.frames == []
    group.add(frame(9, is_keyframe=True))
    group.add(frame(10))
    assert [one.pts_us for one in group.frames] == [9, 10]


FRAMES = st.lists(
    st.tuples(
        st.integers(1, LONGEST_US),
        st.sampled_from([1, 100_000, MOST_BYTES // 2, MOST_BYTES, MOST_BYTES + 1]),
        st.booleans(),
    ),
    max_size=12,
)


@given(FRAMES)
def test_a_group_is_all_since_the_last_keyframe_or_nothing(
    frames: list[tuple[int, int, bool]],
) -> None:
    """Never more than 2 s and 4 MB of it, and never with a gap."""
    group, since, at_us, is_lost = Group(), [], 0, True
    for gap_us, size, is_keyframe in frames:
        at_us += gap_us
        newest = frame(at_us, size=size, is_keyframe=is_keyframe)
        group.add(newest)
        since = [newest] if is_keyframe else [*since, newest]
        fits_in_time = at_us - since[0].pts_us <= LONGEST_US
        fits = fits_in_time and sum(len(one.data) for one in since) <= MOST_BYTES
        is_lost = not fits or (is_lost and not is_keyframe)
        assert group.frames == ([] if is_lost else since)


async def test_an_encoder_that_makes_keyframes_is_asked_again(tmp_path: Path) -> None:
    """A hub that kept groups for one source forgets them for the next."""
    asked: list[None] = []
    hub = VideoHub(lambda: asked.append(None))
    hub.begin(keeps_group=True)
    hub.publish(frame(0, is_keyframe=True))
    hub.request_keyframe()
    hub.begin(keeps_group=False)
    viewer = Collector()
    with hub.subscribed(viewer):
        assert viewer.frames == []
        await until(lambda: len(asked) == 1)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("baseline", "the camera itself"), ("sdp-only", "the camera itself"), ("high", "libx264")],
)
def test_a_network_camera_streams(server: RtspServer, name: str, encoder: str) -> None:
    """By its stream it is passed through or encoded anew; either way every frame decodes."""
    viewer = Collector()
    with source(server.url(name)).opened(viewer.take) as stream:
        frames = viewer.wait(45)
        assert stream.main.encoder == encoder
    assert {7, 8, 5} <= nal_types(frames[0].data)
    assert len(decode(frames)) == len(frames)


async def test_viewers_outlast_a_network_camera_that_comes_back(server: RtspServer) -> None:
    """Its power is cut and restored: nobody is sent away, and they go on with a keyframe."""
    capture = Capture(
        source(server.url("baseline")),
        linger_s=0,
        is_always_on=False,
        stall_after_s=0.5,
        retry_delays=lambda: itertools.repeat(0.1),
    )
    viewer = Collector()
    async with running(capture.run()), asyncio.timeout(120):
        with capture.watched(), capture.hub.subscribed(viewer):
            await until(lambda: viewer.frames, deadline_s=30)
            await asyncio.to_thread(server.kill)
            await until(lambda: capture.problem is not None, deadline_s=30)
            seen = len(viewer.frames)
            assert capture.state is not CaptureState.FAILED
            await asyncio.to_thread(server.start)
            await until(lambda: len(viewer.frames) > seen + 10, deadline_s=30)
    assert viewer.frames[seen].is_keyframe

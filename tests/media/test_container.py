"""What a container source promises: any size and rate in, a live stream out, no secret in its words."""

import itertools
import random
import threading
from pathlib import Path

import av
import pytest

from camagent.errors import CameraError
from camagent.media.container import ContainerSource
from camagent.media.drawing import TestPicture
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import EncodedFrame
from camagent.media.picture import planes_of
from tests.media.streams import decode, grey

NOISE = random.Random(1).randbytes(100_000)  # noqa: S311 - the same each time


def source(url: str | Path, *, frames_per_second: int = 30) -> ContainerSource:
    return ContainerSource(
        EncoderOptions(
            width_px=320,
            height_px=180,
            frames_per_second=frames_per_second,
            bitrate_bps=500_000,
            keyframe_interval_s=10,
        ),
        url=str(url),
    )


def write_clip(path: Path, *, pictures: int, width_px: int, height_px: int, rate: int) -> None:
    drawn = TestPicture(width_px=width_px, height_px=height_px)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for number in range(pictures):
            container.mux(stream.encode(drawn.draw(10**15 + number * 1_000_000 // rate)))
        container.mux(stream.encode(None))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Write a clip of a fifth of a second, 4:3, at 50 pictures per second."""
    path = tmp_path / "clip.mp4"
    write_clip(path, pictures=10, width_px=640, height_px=480, rate=50)
    return path


class Collector:
    def __init__(self, enough: int) -> None:
        self.frames: list[EncodedFrame] = []
        self._enough = enough
        self.has_enough = threading.Event()

    def take(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)
        if len(self.frames) == self._enough:
            self.has_enough.set()


def watch(its_source: ContainerSource, count: int) -> list[EncodedFrame]:
    viewer = Collector(count)
    with its_source.opened(viewer.take):
        assert viewer.has_enough.wait(10)
    return viewer.frames


def test_a_file_plays_over_and_over_in_real_time(clip: Path) -> None:
    """More frames come than the file has, as far apart as its pictures are."""
    frames = watch(source(clip, frames_per_second=50), 35)
    gaps_us = [later.pts_us - earlier.pts_us for earlier, later in itertools.pairwise(frames)]
    # A busy machine may drop a picture, which makes a gap of two.
    assert sorted(gaps_us)[len(gaps_us) // 2] == pytest.approx(20_000, abs=2)
    assert frames[0].is_keyframe
    assert "container" not in {thread.name for thread in threading.enumerate()}


def test_a_faster_source_is_thinned_out(clip: Path) -> None:
    """Of fifty pictures per second, twenty-five are encoded when that is what was asked for."""
    frames = watch(source(clip, frames_per_second=25), 15)
    gaps_us = [later.pts_us - earlier.pts_us for earlier, later in itertools.pairwise(frames)]
    assert sorted(gaps_us)[len(gaps_us) // 2] == pytest.approx(40_000, abs=4)


def test_the_shape_is_kept(clip: Path) -> None:
    """A 4:3 picture in a 16:9 stream has black bars at its sides."""
    (picture, *_) = decode(watch(source(clip), 3))
    luma = planes_of(picture)[0]
    assert (picture.width, picture.height) == (320, 180)
    assert luma[:, :36].max() < 40
    assert luma[:, -36:].max() < 40
    assert luma[20:, 50:-50].mean() > 50


def test_full_range_becomes_limited_range(tmp_path: Path) -> None:
    """The white of a USB camera's JPEG is the white of video."""
    path = tmp_path / "white.mjpeg"
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuvj420p"
        for _ in range(5):
            white = grey(255, width_px=320, height_px=180).reformat(
                format="yuvj420p", src_color_range="JPEG", dst_color_range="JPEG"
            )
            container.mux(stream.encode(white))
        container.mux(stream.encode(None))

    (picture, *_) = decode(watch(source(path), 3))
    assert planes_of(picture)[0].mean() == pytest.approx(235, abs=2)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/dev/video0", "/dev/video0"),
        ("/dev/video[0", "/dev/video[0"),
        ("file:///clips/a@b.mp4", "file:///clips/a@b.mp4"),
        ("rtsp://eve:secret@camera.lan:554/live?password=secret", "rtsp://camera.lan:554"),
        ("rtsp://eve:se@cret@[::1]:554/live", "rtsp://[::1]:554"),
        ("rtsp://camera.lan/user=admin&password=secret&channel=1", "rtsp://camera.lan"),
        ("RTSPS://camera.lan:7441/a-secret-for-whoever-asks", "rtsps://camera.lan:7441"),
        ("http://camera.lan?password=secret", "http://camera.lan"),
        ("rtsp:eve:secret@camera.lan/live", "rtsp://camera.lan"),
        ("rtsp://eve:se[cret@camera.lan/live", "rtsp://camera.lan"),
        ("udp://@239.0.0.1:5000", "udp://239.0.0.1:5000"),
    ],
)
def test_its_name_holds_no_secret(url: str, name: str) -> None:
    """Logs show which camera it is, and nothing else of the URL."""
    assert source(url).name == name


def test_an_unreachable_camera_is_told_without_its_password() -> None:
    """The error says which camera and why; neither it nor its causes quote the URL."""
    camera = source("rtsp://eve:secret@127.0.0.1:1/live")
    with (
        pytest.raises(CameraError, match=r"rtsp://127.0.0.1:1 cannot be opened: Conn") as told,
        camera.opened(lambda _frame: None),
    ):
        pass
    errors: list[BaseException] = [told.value]
    while (cause := errors[-1].__cause__) is not None:
        errors.append(cause)
    assert not any("secret" in str(error) for error in errors)
    assert told.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("/dev/video99", "/dev/video99 cannot be opened: No such file.*list-devices"),
        ("/no/such.mp4", "/no/such.mp4 cannot be opened: No such file"),
    ],
)
def test_what_is_not_there_is_told(url: str, problem: str) -> None:
    """A missing device or file is named, with where to look."""
    with pytest.raises(CameraError, match=problem), source(url).opened(lambda _frame: None):
        pass


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Write a file that holds sound only."""
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8_000)
        samples = av.AudioFrame("s16", "mono", 800)
        samples.sample_rate = 8_000
        container.mux(stream.encode(samples))
    return path


def test_sound_is_no_camera(sound: Path) -> None:
    """A file without pictures is refused at once."""
    with pytest.raises(CameraError, match=r"sound.wav holds no video"):  # noqa: SIM117
        with source(sound).opened(lambda _frame: None):
            pass


def test_sound_beside_the_picture_is_left_out(tmp_path: Path) -> None:
    """Also where it comes first."""
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8_000)
        video = container.add_stream("mpeg4", rate=50)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        for _ in range(10):
            samples = av.AudioFrame("s16", "mono", 160)
            samples.sample_rate = 8_000
            container.mux(sound.encode(samples))
            container.mux(video.encode(grey(width_px=320, height_px=180)))
        container.mux(video.encode(None))
    assert len(decode(watch(source(path, frames_per_second=50), 15))) >= 15


def test_a_truncated_file_tells_why_it_ended(clip: Path) -> None:
    """What cannot be decoded ends in a CameraError, at the latest where the block ends."""
    clip.write_bytes(clip.read_bytes()[:2_000])
    with pytest.raises(CameraError, match=r"clip.mp4"), source(clip).opened(lambda _frame: None):
        pass


@pytest.mark.parametrize(
    "name", ["notes.txt", "noise.h264", "noise.mp4", "noise.mjpeg", "none.mp4"]
)
def test_what_is_no_video_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever its name says, and before anything is waited for."""
    path = tmp_path / name
    content = {"notes": b"Call the plumber.\n" * 100, "noise": NOISE, "none": b""}[path.stem]
    path.write_bytes(content)
    with pytest.raises(CameraError, match=name), source(path).opened(lambda _frame: None):
        pass

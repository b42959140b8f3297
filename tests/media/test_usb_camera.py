"""What the stand-in for a USB camera promises: FFmpeg finds in it what it finds in a real one."""

import json
from pathlib import Path

import pytest

from tests.media.footage import STARTS_AT_US, Footage
from tests.media.usb_camera import UsbCamera, run_with_camera, usb_camera

FOOTAGE = Footage(seconds=1)
PERIOD_US = 1_000_000 / FOOTAGE.frames_per_second

OPENED = """
import json, os, sys
from pathlib import Path
import av
from camagent.media.picture import planes_of
from camagent.media.timestamp import read_timestamp

def opened(input_format, video_size="640x360"):
    options = {"input_format": input_format, "video_size": video_size, "framerate": "30"}
    # As `options` they would set the decoder's size too, whatever the camera has.
    return av.open("/dev/video0", format="v4l2", container_options=options)
"""

WATCH = """
times_us, shown_us, formats = [], [], set()
with opened(sys.argv[1]) as camera:
    stream = camera.streams.video[0]
    for packet in camera.demux(stream):
        times_us.append(packet.pts)
        for picture in packet.decode():
            formats.add((picture.width, picture.height))
            shown_us.append(read_timestamp(planes_of(picture.reformat(format="yuv420p"))[0]))
        del packet
        if len(shown_us) > 40:
            break
    codec = stream.codec_context
    about = [codec.name, codec.pix_fmt, codec.profile, str(stream.average_rate), *formats]
print(json.dumps([about, times_us, shown_us]))
"""

REFUSED = """
try:
    opened(*sys.argv[1:])
except av.error.FFmpegError as error:
    print(type(error).__name__, error.errno)
"""


@pytest.fixture(scope="module")
def camera(usb_camera_library: Path, tmp_path_factory: pytest.TempPathFactory) -> UsbCamera:
    return usb_camera(usb_camera_library, tmp_path_factory.mktemp("usb") / "camera", FOOTAGE)


def printed(camera: UsbCamera, code: str, *arguments: str) -> str:
    done = run_with_camera(camera, OPENED + code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("input_format", "codec", "pix_fmt", "profile"),
    [
        ("mjpeg", "mjpeg", "yuvj422p", "Baseline"),
        ("yuyv422", "rawvideo", "yuyv422", None),
        ("h264", "h264", "yuv420p", "Constrained Baseline"),
    ],
)
def test_every_format_shows_the_footage_over_and_over(
    camera: UsbCamera, input_format: str, codec: str, pix_fmt: str, profile: str | None
) -> None:
    """Each frame is a whole picture, of the size asked for, and a period after the one before."""
    about, times_us, shown_us = json.loads(printed(camera, WATCH, input_format))

    assert about == [codec, pix_fmt, profile, "30", [640, 360]]
    # FFmpeg's H.264 parser loses the first time.
    first_us = times_us[1] - PERIOD_US
    numbers = [(time_us - first_us) / PERIOD_US for time_us in times_us[1:]]
    # A busy machine may lose pictures, but it gets none between the periods.
    whole = [round(number) for number in numbers]
    assert numbers == pytest.approx(whole, abs=0.001)
    seen = [round((shown_at_us - STARTS_AT_US) / PERIOD_US) for shown_at_us in shown_us]
    assert seen == [number % 30 for number in [0, *whole]][: len(seen)]
    assert len(seen) > 40


def test_its_formats_can_be_listed(camera: UsbCamera) -> None:
    """FFmpeg lists formats and sizes; the rates are asked for as videodev2.h says."""
    code = """
import fcntl, struct
av.logging.set_level(av.logging.INFO)
av.logging.restore_default_callback()
try:
    av.open("/dev/video0", format="v4l2", container_options={"list_formats": "all"})
except av.error.ExitError:
    pass
video = os.open("/dev/video0", os.O_RDWR | os.O_NONBLOCK)
VIDIOC_ENUM_FRAMEINTERVALS = 0xC034564B
question = struct.pack("=I4sII36x", 0, b"YUYV", 640, 360)
answer = fcntl.ioctl(video, VIDIOC_ENUM_FRAMEINTERVALS, question)
print(struct.unpack_from("=III", answer, 16))
"""
    done = run_with_camera(camera, OPENED + code)

    listed = [line.partition("] ")[2].split() for line in done.stderr.splitlines()]
    assert listed == [
        ["Compressed:", "mjpeg", ":", "Motion-JPEG", ":", "640x360"],
        ["Raw", ":", "yuyv422", ":", "YUYV", "4:2:2", ":", "640x360"],
        ["Compressed:", "h264", ":", "H.264", ":", "640x360"],
    ]
    assert done.stdout == "(1, 1, 30)\n"


def test_h264_can_be_high_profile(usb_camera_library: Path, tmp_path: Path) -> None:
    """Some cameras have no other."""
    camera = usb_camera(
        usb_camera_library, tmp_path / "camera", FOOTAGE, formats=["h264"], h264_profile="high"
    )

    about, _, shown_us = json.loads(printed(camera, WATCH, "h264"))

    assert about[:3] == ["h264", "yuv420p", "High"]
    assert len(shown_us) > 30


def test_unplugging_ends_the_stream(camera: UsbCamera) -> None:
    """Who reads gets ENODEV, who opens gets ENOENT, until the camera is back."""
    code = """
with opened("mjpeg") as camera:
    packets = camera.demux()
    next(packets)
    unplugged = Path(os.environ["USB_CAMERA"], "unplugged")
    unplugged.touch()
    try:
        for packet in packets:
            del packet
    except OSError as error:
        print(error.errno, end=" ")
try:
    opened("mjpeg")
except av.error.FFmpegError as error:
    print(error.errno, end=" ")
unplugged.unlink()
opened("mjpeg").close()
print("back")
"""
    assert printed(camera, code) == "19 2 back"


def test_an_absent_camera_is_not_found(camera: UsbCamera) -> None:
    """The error is that of a file which is not there."""
    with camera.troubled("absent"):
        assert printed(camera, REFUSED, "mjpeg") == "FileNotFoundError 2"


def test_a_busy_camera_says_so(camera: UsbCamera) -> None:
    """The error is EBUSY, while it is."""
    with camera.troubled("busy"):
        assert printed(camera, REFUSED, "mjpeg") == "OSError 16"
    assert not printed(camera, REFUSED, "mjpeg")


def test_one_process_at_a_time_has_the_camera(camera: UsbCamera) -> None:
    """The second gets EBUSY until the first has closed."""
    code = f"""
import subprocess
command = [sys.executable, "-c", {OPENED + REFUSED!r}, "h264"]
with opened("mjpeg"):
    print(subprocess.check_output(command, text=True).strip(), end=" ")
print(subprocess.check_output(command, text=True).strip() or "free")
"""
    assert printed(camera, code) == "OSError 16 free"


def test_a_format_that_is_not_offered_is_refused(usb_camera_library: Path, tmp_path: Path) -> None:
    """A camera of MJPEG alone has no H.264; for raw pictures FFmpeg takes what there is."""
    camera = usb_camera(usb_camera_library, tmp_path / "camera", FOOTAGE, formats=["mjpeg"])

    assert printed(camera, REFUSED, "h264") == "ArgumentError 22"
    assert json.loads(printed(camera, WATCH, "yuyv422"))[0][0] == "mjpeg"


def test_another_size_gives_the_one_there_is(camera: UsbCamera) -> None:
    """As a camera's driver does, it takes the nearest."""
    code = """
with opened("mjpeg", "1920x1080") as camera:
    print(camera.streams.video[0].width, camera.streams.video[0].height)
"""
    assert printed(camera, code) == "640 360"

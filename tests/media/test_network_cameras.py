"""What becomes of cameras on the network: RTSP and HTTP, honest, mistaken and hostile ones."""

import json
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import quote

import psutil
import pytest

from camagent.errors import CameraError
from camagent.media.container import ContainerSource
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import EncodedFrame
from tests.media import http_camera, rtsp
from tests.media.footage import Footage
from tests.media.rtsp import Name, RtspServer
from tests.media.streams import Collector, decode
from tests.media.usb_camera import ROOT

OPTIONS = EncoderOptions(
    width_px=160, height_px=120, frames_per_second=30, bitrate_bps=200_000, keyframe_interval_s=10
)


def watched(source: ContainerSource, count: int = 30) -> tuple[str, list[EncodedFrame]]:
    viewer = Collector()
    with source.opened(viewer.take) as stream:
        return stream.main.encoder, viewer.wait(count)


def refused(url: str, **deadlines: float) -> str:
    """Give the words in which a source cannot be opened, once they are known to hold no secret."""
    source = ContainerSource(OPTIONS, url=url, **deadlines)  # type: ignore[arg-type] # all floats
    with pytest.raises(CameraError) as told, source.opened(lambda _frame: None):
        pass
    assert "secret" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("name", "encoder"), [("sound", "the camera itself"), ("main", "libx264"), ("high", "libx264")]
)
def test_rtsp_gives_what_browsers_decode(server: RtspServer, name: Name, encoder: str) -> None:
    """Baseline goes on as it is, and without the sound; other profiles are encoded anew."""
    encoded_by, frames = watched(ContainerSource(OPTIONS, url=server.url(name)))

    assert encoded_by == encoder
    assert frames[0].is_keyframe
    assert len(decode(frames)) == len(frames)


def test_rtsp_comes_over_tcp(server: RtspServer) -> None:
    """A lost packet is sent again; over UDP it would be a broken picture."""
    with ContainerSource(OPTIONS, url=server.url("baseline")).opened(lambda _frame: None):
        kinds = {connection.type for connection in psutil.Process().net_connections("inet")}
    assert kinds == {socket.SOCK_STREAM}


def test_rtsp_says_what_is_wrong_with_its_url(server: RtspServer) -> None:
    """A password or a path that is not right is told as such."""
    wrong = server.url("password", user=rtsp.USER, password="another-secret")
    assert "401 Unauthorized" in (words := refused(wrong))
    assert "are user and password right" in words
    assert "404 Not Found; is the path in the URL right?" in refused(
        server.url("baseline") + "-not"
    )


@pytest.mark.parametrize(
    ("passes_through", "problem"),
    [
        (True, r"no keyframe for 1 s; set its keyframe interval"),
        (False, r"can be decoded.* for 1 s"),
    ],
)
def test_a_camera_without_keyframes_says_so(
    server: RtspServer, *, passes_through: bool, problem: str
) -> None:
    """There is nothing that viewers can start with, and it does not wait for ever."""
    source = ContainerSource(
        OPTIONS,
        url=server.url("no-keyframes"),
        passes_through=passes_through,
        picture_deadline_s=1,
    )
    with pytest.raises(CameraError, match=problem), source.opened(lambda _frame: None):
        pass


@pytest.fixture(scope="module")
def jpeg_camera() -> Iterator[str]:
    footage = Footage(width_px=320, height_px=180, seconds=1)
    jpegs = [*footage.mjpeg()]
    # Many a camera begins with half a picture, and some lose one now and then.
    jpegs[0] = jpegs[0][: len(jpegs[0]) // 2]
    jpegs[5] = b"\xff\xd8\xff\xd9"
    with http_camera.http_camera(jpegs, frames_per_second=footage.frames_per_second) as port:
        yield f"127.0.0.1:{port}"


@pytest.mark.parametrize("path", ["open", "closed"])
def test_jpegs_over_http_are_encoded(jpeg_camera: str, path: str) -> None:
    """At the size that was asked for; broken ones are left out."""
    user = f"{http_camera.USER}:{quote(http_camera.PASSWORD)}@" if path == "closed" else ""
    encoder, frames = watched(
        ContainerSource(OPTIONS, url=f"http://{user}{jpeg_camera}/{path}"), 40
    )

    assert encoder == "libx264"
    sizes = {(picture.width, picture.height) for picture in decode(frames)}
    assert sizes == {(160, 120)}


def test_http_says_what_is_wrong_with_its_url(jpeg_camera: str) -> None:
    """As RTSP does."""
    closed = refused(f"http://owner:another-secret@{jpeg_camera}/closed")
    assert "are user and password right" in closed
    assert "is the path in the URL right?" in refused(f"http://{jpeg_camera}/none")


NOISE = random.Random(1).randbytes(1 << 20)  # noqa: S311 - the same each time
PART = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=next\r\n\r\n"
    b"--next\r\nContent-Type: image/jpeg\r\n"
)
HOSTILE: dict[str, tuple[bytes, bytes]] = {
    "garbage": (NOISE[:5_000], b""),
    "endless-garbage": (b"", NOISE),
    "endless-line": (b"", b"a" * (1 << 20)),
    "endless-rtsp-header": (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n", b"X-More: yes\r\n" * 10_000),
    "endless-rtsp-body": (
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 2000000000\r\n\r\n",
        NOISE,
    ),
    "endless-http-header": (b"HTTP/1.1 200 OK\r\n", b"X-More: yes\r\n" * 10_000),
    "endless-jpeg": (PART + b"\r\n\xff\xd8", NOISE),
    "huge-jpeg": (PART + b"Content-Length: 2000000000\r\n\r\n\xff\xd8", NOISE),
}
"""What is sent first, and what for ever after that."""


@contextmanager
def saying(first: bytes, then: bytes) -> Iterator[int]:
    """Say this to whoever connects, whatever is asked; give the port."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.recv(1_000)
                connection.sendall(first)
                while then:
                    connection.sendall(then)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_silent_camera_is_not_waited_for(scheme: str) -> None:
    """It takes the connection, and that is all it does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://owner:secret@127.0.0.1:{silent.getsockname()[1]}/live"
        assert "cannot be opened: no usable answer within 0.2 s" in refused(
            url, connect_deadline_s=0.2
        )


OPEN_EACH = """
import json, resource, sys
from camagent.errors import CameraError
from camagent.media.container import ContainerSource
from tests.media.test_network_cameras import OPTIONS

def most_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024

said, before_mb = [], most_mb()
for url in sys.argv[1:]:
    try:
        with ContainerSource(OPTIONS, url=url, connect_deadline_s=0.5).opened(print):
            said.append("it is open")
    except CameraError as error:
        said.append(str(error))
print(json.dumps([said, most_mb() - before_mb]))
"""


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_hostile_cameras_cost_little(scheme: str) -> None:
    """Whatever they send, there is a word about it, in time and in bounded memory."""
    with ExitStack() as listening:
        ports = [listening.enter_context(saying(*what)) for what in HOSTILE.values()]
        urls = [f"{scheme}://owner:secret@127.0.0.1:{port}/live" for port in ports]
        child = subprocess.run(
            [sys.executable, "-c", OPEN_EACH, *urls],
            check=True,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            timeout=60,
        )
    said, growth_mb = json.loads(child.stdout.splitlines()[-1])

    for words, port in zip(said, ports, strict=True):
        name = f"{scheme}://127.0.0.1:{port}"
        assert words.startswith((f"{name} cannot be opened: ", f"reading {name} failed: "))
        assert "secret" not in words
    assert growth_mb < 150

"""A real RTSP server for tests, GStreamer's, that serves as an IP camera does."""

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import av

from tests.media.footage import Footage, Profile, self_contained, write_frames
from tests.media.streams import PPS, SPS, nal_units

PYTHON = "/usr/bin/python3"
"""Debian's own, which has gi."""

PACKAGES = "python3-gi gir1.2-gst-rtsp-server-1.0"
_IMPORT = "import gi; gi.require_version('GstRtspServer', '1.0')"

USER, PASSWORD = "owner", "not-a-secret"

Name = Literal["baseline", "main", "high", "password", "sound", "sdp-only", "no-keyframes"]


def has_gstreamer() -> bool:
    """Tell whether the server's packages are there."""
    try:
        asked = subprocess.run([PYTHON, "-c", _IMPORT], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return asked.returncode == 0


class RtspServer:
    """The server's process, which can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def url(self, name: Name, *, user: str = "", password: str = "") -> str:
        """Give the stream's address."""
        credentials = f"{user}:{password}@" if user else ""
        return f"rtsp://{credentials}127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Return when it listens, on the port that it had before, if any."""
        assert self._process is None, "the server runs already"
        script = str(Path(__file__).with_name("rtsp_server.py"))
        command = [PYTHON, script, str(self._folder), str(self.port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        first_line = self._process.stdout.readline()
        if not first_line:
            raise RuntimeError(f"the RTSP server ended with status {self._process.wait()}")
        self.port = int(first_line)

    def kill(self) -> None:
        """End it as a power cut does. Ending it twice is no error."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextmanager
def rtsp_server(streams: Path) -> Iterator[RtspServer]:
    """Serve, while the block runs, what `prepare_streams` wrote."""
    server = RtspServer(streams)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def prepare_streams(folder: Path, footage: Footage) -> Path:
    """Write the streams that the server plays.

    baseline    constrained baseline, no B-frames
    main        Main profile, no B-frames
    high        High profile, with B-frames
    password    baseline, for USER and PASSWORD, as digest authentication has it
    sound       baseline, with sound beside it
    sdp-only    baseline, whose SPS and PPS are in the session description and nowhere else
    no-keyframes
                baseline, without its keyframes
    """
    in_band: list[tuple[Name, Profile, int, str]] = [
        ("baseline", "baseline", 0, ""),
        ("password", "baseline", 0, USER),
        ("sound", "baseline", 0, ""),
        ("main", "main", 0, ""),
        ("high", "high", 2, ""),
    ]
    for name, profile, b_frames, user in in_band:
        packets, sets = footage.h264(profile=profile, b_frames=b_frames)
        frames = self_contained(packets, sets)
        caps = "stream-format=byte-stream"
        _write(folder / name, footage, packets, frames, caps=caps, user=user)
    packets, sets = footage.h264()
    others = [packet for packet in packets if not packet.is_keyframe]
    frames = (sets + bytes(packet) for packet in others)
    _write(folder / "no-keyframes", footage, others, frames, caps="stream-format=byte-stream")
    frames = (_with_lengths(bytes(packet)) for packet in packets)
    caps = f"stream-format=avc,codec_data=(buffer){_configuration_record(sets).hex()}"
    _write(folder / "sdp-only", footage, packets, frames, caps=caps)
    return folder


def _write(
    stem: Path,
    footage: Footage,
    packets: Iterable[av.Packet],
    frames: Iterable[bytes],
    *,
    caps: str,
    user: str = "",
) -> None:
    write_frames(stem.with_suffix(".frames"), frames)
    size = f"width={footage.width_px},height={footage.height_px}"
    about = {
        "caps": f"video/x-h264,alignment=au,{size},framerate={footage.frames_per_second}/1,{caps}",
        "frames_per_second": footage.frames_per_second,
        "shown": [packet.pts for packet in packets],
        "user": user,
        "password": PASSWORD,
        "has_sound": stem.name == "sound",
    }
    stem.with_suffix(".json").write_text(json.dumps(about))


def _with_lengths(access_unit: bytes) -> bytes:
    """Put a length in place of each start code (ISO/IEC 14496-15, section 5.3.2)."""
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in nal_units(access_unit))


def _configuration_record(parameter_sets: bytes) -> bytes:
    """Say how such frames are to be read (ISO/IEC 14496-15, section 5.3.3.1)."""
    sps, pps = (unit for unit in nal_units(parameter_sets) if unit[0] & 0x1F in (SPS, PPS))
    length_bytes, one_sps = 0xFC | 3, 0xE0 | 1
    return b"".join(
        (
            bytes((1, *sps[1:4], length_bytes, one_sps)),
            len(sps).to_bytes(2, "big") + sps,
            b"\x01" + len(pps).to_bytes(2, "big") + pps,
        )
    )

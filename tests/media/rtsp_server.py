"""An RTSP server that plays prepared streams live and without end; needs Debian's GStreamer.

    /usr/bin/python3 rtsp_server.py FOLDER PORT

FOLDER holds NAME.json and NAME.frames for each stream, as rtsp.py writes them. Port 0 is any free
one; the one in use is printed as the first line. Runs until it is killed or its standard input
ends, as it does with whoever started it.
"""

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 (versions come first)

# Without an interval the payloader sends the SPS and PPS that the frames hold, and no others.
VIDEO = "appsrc name=source is-live=true format=time ! rtph264pay name=pay0 pt=96 config-interval=0"
SOUND = (
    "appsrc name=sound is-live=true format=time caps=audio/x-mulaw,rate=8000,channels=1 "
    "! rtppcmupay name=pay1 pt=0"
)
SOUND_MS = 20


class Stream(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc] # gi has no types
    """One address of the server."""

    def __init__(self, description: Path) -> None:
        super().__init__()
        self._about: dict[str, Any] = json.loads(description.read_text())
        self._frames = list(_frames_of(description.with_suffix(".frames")))
        self.set_launch(f"( {VIDEO} {SOUND} )" if self._about["has_sound"] else f"( {VIDEO} )")
        # All viewers see one camera.
        self.set_shared(True)
        self.connect("media-configure", self._configure)

    def protect(self, auth: GstRtspServer.RTSPAuth) -> None:
        """Let in those with the stream's user and password; without one, let in anybody."""
        permissions = GstRtspServer.RTSPPermissions()
        for role in ("owner", "anybody"):
            may_watch = role == "owner" or not self._about["user"]
            # Who may not know of a stream is told 404, who may not watch it 401.
            permissions.add_permission_for_role(role, "media.factory.access", True)  # noqa: FBT003 (C has no names)
            permissions.add_permission_for_role(role, "media.factory.construct", may_watch)
        self.set_permissions(permissions)
        if self._about["user"]:
            auth.add_digest(self._about["user"], self._about["password"], _token("owner"))

    def _configure(self, _: Gst.Object, media: GstRtspServer.RTSPMedia) -> None:
        source = media.get_element().get_by_name("source")
        source.set_property("caps", Gst.Caps.from_string(self._about["caps"]))
        source.connect("need-data", self._push, self._buffers())
        if self._about["has_sound"]:
            sound = media.get_element().get_by_name("sound")
            sound.connect("need-data", self._push, _silence())

    def _push(self, source: Gst.Element, _: int, buffers: Iterator[Gst.Buffer]) -> None:
        source.emit("push-buffer", next(buffers))

    def _buffers(self) -> Iterator[Gst.Buffer]:
        rate, shown = self._about["frames_per_second"], self._about["shown"]
        for turn in itertools.count():
            for frame, number in zip(self._frames, shown, strict=True):
                buffer = Gst.Buffer.new_wrapped(frame)
                buffer.pts = (turn * len(shown) + number) * Gst.SECOND // rate
                buffer.duration = Gst.SECOND // rate
                yield buffer


def main(folder: Path, port: str) -> None:
    """Serve until nobody wants it any more."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.set_default_token(_token("anybody"))
    server.set_auth(auth)
    for description in folder.glob("*.json"):
        stream = Stream(description)
        stream.protect(auth)
        server.get_mount_points().add_factory(f"/{description.stem}", stream)
    if server.attach(None) == 0:
        sys.exit(f"port {port} is not to be had")
    print(server.get_bound_port(), flush=True)  # noqa: T201 (what it is asked for)
    loop = GLib.MainLoop()
    GLib.io_add_watch(
        sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IO_HUP, lambda *_: loop.quit()
    )
    loop.run()


def _silence() -> Iterator[Gst.Buffer]:
    for number in itertools.count():
        buffer = Gst.Buffer.new_wrapped(bytes(8 * SOUND_MS))
        buffer.pts = number * SOUND_MS * Gst.MSECOND
        buffer.duration = SOUND_MS * Gst.MSECOND
        yield buffer


def _token(role: str) -> GstRtspServer.RTSPToken:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", role)
    return token


def _frames_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while length := file.read(4):
            yield file.read(int.from_bytes(length, "little"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

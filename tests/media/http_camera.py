"""A network camera that sends JPEGs over HTTP, one part each (multipart/x-mixed-replace)."""

import base64
import http.server
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

USER, PASSWORD = "owner", "not@a-secret"
_AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@contextmanager
def http_camera(jpegs: Sequence[bytes], *, frames_per_second: int) -> Iterator[int]:
    """Serve `jpegs` in a loop at /open, and at /closed to USER with PASSWORD; give the port."""
    ended = threading.Event()

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in {"/open", "/closed"}:
                self.send_error(404)
            elif self.path == "/closed" and self.headers["Authorization"] != _AUTHORIZATION:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.end_headers()
            else:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.end_headers()
                self._stream()

        def _stream(self) -> None:
            for jpeg in itertools.cycle(jpegs):
                head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                except OSError:
                    return
                if ended.wait(1 / frames_per_second):
                    return

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            ended.set()
            server.shutdown()
            thread.join()

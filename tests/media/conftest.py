"""A network camera for whoever asks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.media.footage import Footage
from tests.media.rtsp import PACKAGES, RtspServer, has_gstreamer, prepare_streams, rtsp_server


@pytest.fixture(scope="session")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give what the server plays."""
    if not has_gstreamer():
        missing(f"GStreamer's RTSP server is not installed (Debian packages {PACKAGES})")
    return prepare_streams(
        tmp_path_factory.mktemp("rtsp"), Footage(frames_per_second=25, seconds=1)
    )


@pytest.fixture
def server(streams: Path) -> Iterator[RtspServer]:
    """Give a running RTSP server, on a port of its own."""
    with rtsp_server(streams) as server:
        yield server

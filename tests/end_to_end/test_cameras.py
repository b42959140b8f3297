"""A real browser watches cameras and files that FFmpeg reads."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser
from structlog.testing import capture_logs

from camagent.settings import VideoSettings
from tests.conftest import missing
from tests.end_to_end.house import SMALL, agent, relay, watching
from tests.media.footage import Footage, self_contained
from tests.media.rtsp import PACKAGES, has_gstreamer, prepare_streams, rtsp_server
from tests.support import until

FOOTAGE = Footage(seconds=1)


def video(url: str | Path, **changes: Any) -> VideoSettings:
    values = {**SMALL, "source": "container", "url": str(url), **changes}
    return VideoSettings.model_validate(values)


@pytest.mark.parametrize(
    ("name", "encoder"), [("clip.h264", "the camera itself"), ("clip.mjpeg", "libx264")]
)
async def test_a_file_is_watched_over_and_over(
    browser: Browser, own_address: str, tmp_path: Path, name: str, encoder: str
) -> None:
    """It goes on after its end; who comes in its midst sees a picture without asking for one."""
    path = tmp_path / name
    frames = FOOTAGE.mjpeg() if name.endswith("mjpeg") else self_contained(*FOOTAGE.h264())
    path.write_bytes(b"".join(frames))
    async with (
        relay(tmp_path) as server,
        agent(server.port, video=video(path)) as camera,
        watching(browser, own_address, server.port) as first,
    ):
        await first.until_first_frame()
        await first.until_it_moves(45)
        async with watching(browser, own_address, server.port) as second:
            await second.until_first_frame()
            await second.until_it_moves()
        await first.until_it_moves()
        size = await first.video.evaluate("video => [video.videoWidth, video.videoHeight]")
        assert size == [FOOTAGE.width_px, FOOTAGE.height_px]
        assert camera.capture._encoding is not None
        assert camera.capture._encoding.encoder == encoder
        assert (camera.capture.hub.keyframes_forced == 0) == (encoder == "the camera itself")


async def test_a_session_outlasts_a_network_camera_that_comes_back(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """Cut and restored, the same video of the same session moves again."""
    if not has_gstreamer():
        missing(f"GStreamer's RTSP server is not installed (Debian packages {PACKAGES})")
    (tmp_path / "streams").mkdir()
    streams = prepare_streams(tmp_path / "streams", FOOTAGE)
    with rtsp_server(streams) as network_camera:
        settings = video(network_camera.url("baseline"), stall_after_s=1)
        async with (
            relay(tmp_path) as server,
            agent(server.port, video=settings) as camera,
            watching(browser, own_address, server.port) as person,
        ):
            await person.until_first_frame()
            await person.until_it_moves()
            # Before its end is noticed it may be there again: the page's patience has a limit.
            with capture_logs() as logs:
                await asyncio.to_thread(network_camera.kill)
                await asyncio.to_thread(network_camera.start)
                await until(lambda: any(line["event"] == "capture.stalled" for line in logs))
                await until(lambda: camera.capture.problem is None)
            await person.until_it_moves(30)

            assert len(await server.store.sessions()) == 1
            assert await person.dataset("watchState") == "streaming"
            assert not await person.dataset("failure")

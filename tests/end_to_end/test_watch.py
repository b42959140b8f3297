"""Relay, agent and a real browser: what a person sees, and what happens when a part goes away."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page
from playwright.async_api import Error as PlaywrightError
from structlog.testing import capture_logs

from camagent.errors import CameraError
from camagent.media.frame import Encoding
from camagent.settings import VideoSettings
from server_stub.auth import make_token
from tests.end_to_end.house import (
    DEVICE_ID,
    SECRET,
    SMALL,
    USER_ID,
    Programs,
    Watching,
    agent,
    page_url,
    relay,
    watching,
)
from tests.support import DEADLINE_S, eventually, until

# What Chromium offers when it would also talk and chat: microphone and data channel come first.
OFFER_EVERYTHING = """async ({ token, deviceId }) => {
  const socket = new WebSocket(`ws://${location.host}/ws/viewer`);
  const send = (type, payload) =>
    socket.send(JSON.stringify({ type, ts: new Date().toISOString(), payload }));
  await new Promise((resolve) => { socket.onopen = resolve; });
  const peer = new RTCPeerConnection();
  peer.addTransceiver('audio', { direction: 'sendrecv' });
  const channel = peer.createDataChannel('chat');
  peer.addTransceiver('video', { direction: 'sendrecv' });
  let sessionId;
  const early = [];
  peer.onicecandidate = ({ candidate }) => {
    const tell = () => send('signal_ice', { session_id: sessionId, candidate });
    if (sessionId) tell(); else early.push(tell);
  };
  const seen = new Promise((resolve, reject) => {
    peer.ontrack = ({ track }) => {
      if (track.kind !== 'video') return;
      const video = document.createElement('video');
      Object.assign(video, { muted: true, srcObject: new MediaStream([track]) });
      video.requestVideoFrameCallback(() => resolve(video));
      video.play();
    };
    socket.onmessage = async ({ data }) => {
      const { type, payload } = JSON.parse(data);
      if (type === 'hello_ack') send('watch_request', { device_id: deviceId });
      if (type === 'watch_ready') {
        sessionId = payload.session_id;
        await peer.setLocalDescription();
        send('signal_offer', { session_id: sessionId, sdp: peer.localDescription });
      }
      if (type === 'signal_answer') await peer.setRemoteDescription(payload.sdp);
      if (type === 'signal_ice') await peer.addIceCandidate(payload.candidate ?? undefined);
      if (type === 'error' || type === 'watch_ended') reject(new Error(data));
    };
  });
  send('hello', { token });
  const video = await seen;
  const answer = peer.remoteDescription.sdp;
  const result = {
    width: video.videoWidth,
    directions: peer.getTransceivers().map((one) => one.currentDirection),
    channel: channel.readyState,
    sections: answer.split('\\r\\n').filter((line) => line.startsWith('m=')),
  };
  socket.close();
  peer.close();
  return result;
}"""


async def test_the_page_shows_moving_video(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """Pictures go on, look different each time, and carry a capture time that is now."""
    async with (
        relay(tmp_path) as server,
        agent(server.port),
        watching(browser, own_address, server.port) as person,
    ):
        await person.until_first_frame()
        await person.until_it_moves()
        first = await person.video.screenshot()
        await person.until_it_moves(5)
        second = await person.video.screenshot()
        captured_at_us = await person.captured_at_us()

        assert first != second
        assert 0 <= time.time() - captured_at_us / 1e6 < 5
        assert await person.dataset("watchState") == "streaming"
        size = await person.video.evaluate("video => [video.videoWidth, video.videoHeight]")
        assert size == [640, 360]


async def test_two_viewers_share_one_encoder(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """Both see the picture of the same moment, encoded once."""
    async with (
        relay(tmp_path) as server,
        agent(server.port) as camera,
        watching(browser, own_address, server.port) as one,
        watching(browser, own_address, server.port) as other,
    ):
        for person in (one, other):
            await person.until_first_frame()
            await person.until_it_moves()
        assert camera.capture.hub.subscriber_count == 2
        before = camera.capture.hub.frames_published, time.monotonic()
        await one.until_it_moves(30)
        await other.until_it_moves(1)
        published = camera.capture.hub.frames_published - before[0]
        elapsed_s = time.monotonic() - before[1]

        # A busy machine may have had some frames waiting when the counting began.
        assert published <= 31 * elapsed_s + 15, "two encoders would publish twice as much"


async def test_the_camera_is_off_while_nobody_watches(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """Before the first viewer and after the last one's linger no camera is open."""
    video = VideoSettings.model_validate({**SMALL, "linger_s": 0.1})
    async with relay(tmp_path) as server, agent(server.port, video=video) as camera:
        assert camera.capture.state.name == "IDLE"
        async with watching(browser, own_address, server.port) as person:
            await person.until_first_frame()
            assert camera.capture.state.name == "LIVE"
            await person.page.get_by_role("button", name="End").click()
            await until(lambda: camera.capture.state.name == "IDLE")

        async def is_written() -> bool:
            records = await server.store.sessions()
            return [record.reason for record in records] == ["user_ended"]

        await eventually(is_written)


async def test_closing_the_page_ends_the_session(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """A viewer that goes away frees its place at once, and the database knows why."""
    async with relay(tmp_path) as server, agent(server.port) as camera:
        async with watching(browser, own_address, server.port) as person:
            await person.until_first_frame()
            assert camera.registry.viewer_count == 1
        await until(lambda: camera.registry.viewer_count == 0)
        await until(lambda: len(server.sessions) == 0)


async def test_what_else_chromium_offers_is_refused(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """With microphone, data channel and own video on offer, Chromium gets our video and no more."""
    async with relay(tmp_path) as server, agent(server.port):
        page = await browser.new_page()
        await page.goto(f"http://{own_address}:{server.port}/")
        token = make_token(SECRET, USER_ID, 600)
        async with asyncio.timeout(2 * DEADLINE_S):
            result = await page.evaluate(OFFER_EVERYTHING, {"token": token, "deviceId": DEVICE_ID})
        await page.close()

    assert result["width"] == 640
    assert result["directions"][-1] == "recvonly"
    assert result["channel"] != "open"
    ports = {line.split(" ")[0]: line.split(" ")[1] for line in result["sections"]}
    assert ports["m=audio"] == ports["m=application"] == "0"
    assert ports["m=video"] != "0"


@asynccontextmanager
async def watched_programs(
    browser: Browser, address: str, folder: Path
) -> AsyncIterator[tuple[Programs, Watching]]:
    """Hold a relay and an agent that can be killed, and a person who sees the picture."""
    async with Programs(folder).running() as programs:
        context = await browser.new_context()
        person = Watching(await _opened(context, address, programs.port))
        await person.until_first_frame()
        yield programs, person
        await context.close()


async def test_the_picture_outlives_the_relay(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """Killed mid-stream, the relay takes no picture away; started again, the page watches anew."""
    async with watched_programs(browser, own_address, tmp_path) as (programs, person):
        await person.page.evaluate("() => { window.isTheSamePage = true; }")

        await programs.kill_relay()
        await person.until("link", "waiting")
        await person.until_it_moves(45)

        await programs.start_relay()
        await person.until("link", "active")
        await eventually(lambda: has_sessions(programs, 2))
        await person.until("watchState", "streaming", deadline_s=40)
        await person.until_it_moves(15)
        assert await person.page.evaluate("() => window.isTheSamePage") is True


async def test_the_page_waits_for_a_killed_agent(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """An agent that dies mid-stream is told to the person; when it is back, so is the picture."""
    async with watched_programs(browser, own_address, tmp_path) as (programs, person):
        await programs.kill_agent()
        await until_failure(person)
        await person.until("picture", "still")

        await programs.start_agent()
        await person.until("picture", "moving", deadline_s=40)
        await person.until_it_moves(15)


class BrokenCamera:
    """A source that cannot be opened."""

    name = "broken"

    @contextmanager
    def opened(self, publish: object) -> Iterator[Encoding]:
        raise CameraError(f"the camera's cable is loose ({type(publish).__name__})")
        yield


async def test_the_page_says_what_is_wrong_with_the_camera(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """A camera that cannot serve is told to the viewer at once, in the camera's own words."""
    async with relay(tmp_path) as server, agent(server.port) as camera:
        camera.capture._source = BrokenCamera()
        async with watching(browser, own_address, server.port) as person:
            await until_failure(person)
            assert "cable is loose" in await person.text()


async def test_the_page_says_that_all_places_are_taken(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """The viewer beyond the limit is told how many may watch."""
    async with (
        relay(tmp_path) as server,
        agent(server.port, max_viewers=1),
        watching(browser, own_address, server.port) as first,
    ):
        await first.until_first_frame()
        async with watching(browser, own_address, server.port) as second:
            await until_failure(second)
            assert "at most 1 viewer" in await second.text()
        await first.until_it_moves(5)


async def test_a_session_leaves_one_line_in_the_log(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """The agent's log tells how the viewer was reached and how soon it saw something."""
    with capture_logs() as logs:
        async with relay(tmp_path) as server, agent(server.port):
            async with watching(browser, own_address, server.port) as person:
                await person.until_first_frame()
            await until(lambda: any(line["event"] == "session.closed" for line in logs))

    line: dict[str, Any] = next(line for line in logs if line["event"] == "session.closed")
    assert line["pair"].startswith("host/")
    assert line["frames"] > 0
    assert line["first_frame_ms"] > 0


async def has_sessions(programs: Programs, count: int) -> bool:
    """Tell whether the relay has written down so many sessions."""
    return len(await programs.sessions()) >= count


async def until_failure(person: Watching) -> None:
    """Wait until the page tells of a failure."""
    await eventually(lambda: person.dataset("failure"), deadline_s=30)


async def _opened(context: BrowserContext, address: str, port: int) -> Page:
    """Open the page as soon as the relay is up."""
    page = await context.new_page()

    async def opens() -> bool:
        try:
            await page.goto(page_url(address, port))
        except PlaywrightError:
            return False
        return True

    await eventually(opens, deadline_s=30)
    return page

"""Players that are not ours watch by WHEP: a client library in Chromium, from another origin."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import Browser, Page, Request, Response
from pydantic import SecretStr
from structlog.testing import capture_logs

from server_stub.auth import make_token
from tests.conftest import missing
from tests.coturn import coturn
from tests.end_to_end.house import DEVICE_ID, SECRET, USER_ID, agent, relay
from tests.npm import WHEP_CLIENT, NotToBeHad
from tests.support import eventually, until

TURN_SECRET = "shared with the TURN server"
PAGE = """<!doctype html><title>player</title><link rel="icon" href="data:,">
<video muted autoplay playsinline></video>
<script type="module">
  import { WHEPClient } from '/whep.js';
  const client = new WHEPClient();
  // Version 1.2.0 forgets the entity tag of the answer, which the draft wants in a PATCH.
  const fetched = window.fetch;
  window.fetch = async (...request) => {
    const answer = await fetched(...request);
    if (answer.status === 201) client.etag = answer.headers.get('ETag');
    return answer;
  };
  window.play = (url, token, kinds, options) => {
    const connection = new RTCPeerConnection(options);
    for (const kind of kinds) connection.addTransceiver(kind, { direction: 'recvonly' });
    const video = document.querySelector('video');
    connection.ontrack = ({ track }) => {
      if (track.kind === 'video') video.srcObject = new MediaStream([track]);
    };
    return client.view(connection, url, token);
  };
  window.stop = () => client.stop();
  document.body.dataset.ready = 'yes';
</script>"""


@asynccontextmanager
async def player_page(browser: Browser, address: str) -> AsyncIterator[Page]:
    """Hold a page of another server that has the client library; it may not complain."""
    try:
        library = WHEP_CLIENT.read("whep.js")
    except NotToBeHad as reason:
        missing(str(reason))

    async def serve_page(_request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def serve_library(_request: web.Request) -> web.Response:
        return web.Response(text=library, content_type="text/javascript")

    application = web.Application()
    application.router.add_get("/", serve_page)
    application.router.add_get("/whep.js", serve_library)
    runner = web.AppRunner(application)
    await runner.setup()
    context = await browser.new_context()
    try:
        await web.TCPSite(runner, address, 0).start()
        page = await context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(f"http://{address}:{runner.addresses[0][1]}/")
        await page.locator("body[data-ready]").wait_for()
        yield page
        assert problems == []
    finally:
        await context.close()
        await runner.cleanup()


async def play(page: Page, address: str, port: int, kinds: list[str], **options: Any) -> None:
    """Let the page watch; `options` are those of its peer connection."""
    token = make_token(SECRET, USER_ID, 600)
    url = f"http://{address}:{port}/whep/{DEVICE_ID}"
    await page.evaluate("words => window.play(...words)", [url, token, kinds, options])


async def until_it_moves(page: Page) -> None:
    """Wait until a picture is decoded, and fifteen more after it."""

    async def frames() -> int:
        script = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
        return int(await page.evaluate(script))

    await eventually(frames)
    before = await frames()

    async def has_moved() -> bool:
        return await frames() >= before + 15

    await eventually(has_moved)


async def test_another_players_picture_moves(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """It offers, trickles, watches and ends, across origins, and no answer is an error."""
    statuses: list[tuple[str, int]] = []
    asked: list[str] = []

    def note(response: Response) -> None:
        if "/whep/" in response.url:
            statuses.append((response.request.method, response.status))

    def note_asked(request: Request) -> None:
        asked.append(request.method)

    async with (
        relay(tmp_path, allowed_origins=("*",)) as server,
        agent(server.port) as camera,
        player_page(browser, own_address) as page,
    ):
        page.on("request", note_asked)
        page.on("response", note)
        await play(page, own_address, server.port, ["audio", "video"])
        await until_it_moves(page)
        size = await page.evaluate("[document.querySelector('video').videoWidth]")
        assert size == [640]
        assert camera.registry.viewer_count == len(server.sessions) == 1

        await page.evaluate("window.stop()")
        await until(lambda: not server.sessions and camera.registry.viewer_count == 0)
        assert ("POST", 201) in statuses
        assert ("PATCH", 204) in statuses

        # A DELETE's own answer may come when the page is no longer listened to.
        assert "DELETE" in asked

        # This player hangs up before it says so: the device may notice first, and then there is no
        # session left to delete.
        async def is_ended() -> bool:
            (session,) = await server.store.sessions()
            return session.reason in {"user_ended", "viewer_disconnected"}

        await eventually(is_ended)
        refused = [answer for answer in statuses if answer[1] >= 400]
        assert [answer for answer in refused if answer != ("DELETE", 404)] == []


async def test_both_ends_of_another_player_may_be_relayed(
    browser: Browser, program: Callable[[str, str], str], own_address: str, tmp_path: Path
) -> None:
    """The player's TURN server comes by Link headers, the device's candidate in the answer."""
    turnserver = program("turnserver", "coturn")
    async with coturn(turnserver, own_address, TURN_SECRET, tmp_path) as url:
        changes = {"turn_urls": (url,), "turn_secret": SecretStr(TURN_SECRET)}
        changes["allowed_origins"] = ("*",)
        with capture_logs() as logs:
            async with (
                relay(tmp_path, **changes) as server,
                agent(server.port, ice_transport_policy="relay") as camera,
                player_page(browser, own_address) as page,
            ):
                # This client tells candidates of its first section only, and sound is refused.
                options = {"iceTransportPolicy": "relay"}
                await play(page, own_address, server.port, ["video"], **options)
                await until_it_moves(page)
                await page.evaluate("window.stop()")
                await until(lambda: camera.registry.viewer_count == 0)
                await until(lambda: any(line["event"] == "session.closed" for line in logs))

    closed = next(line for line in logs if line["event"] == "session.closed")
    answered = next(line for line in logs if line["event"] == "whep.answered")
    assert closed["pair"] == "relay/relay"
    assert answered["has_all_candidates"]

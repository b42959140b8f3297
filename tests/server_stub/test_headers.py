"""What every answer of the relay carries, whatever was asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from server_stub.app import make_application
from server_stub.relay import Relay
from tests.support import DEADLINE_S

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture
async def http(relay: Relay) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{relay.port}") as session:
        yield session


def see_security(headers: Mapping[str, str], what: str) -> None:
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';"), what
    assert "frame-ancestors 'none'" in policy, what
    assert "unsafe" not in policy, what
    assert headers["X-Content-Type-Options"] == "nosniff", what
    assert headers["Referrer-Policy"] == "no-referrer", what
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin", what
    assert headers["Server"] == "camagent-relay", what


def check(answer: aiohttp.ClientResponse) -> None:
    """See that a browser may do with this answer only what it has to."""
    what = f"{answer.method} {answer.url.path} {answer.status}"
    see_security(answer.headers, what)
    is_open = answer.url.path.startswith("/whep/")
    assert "Access-Control-Allow-Origin" not in answer.headers, what
    policy = "cross-origin" if is_open else "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == policy, what


async def test_every_answer_has_them(relay: Relay, http: aiohttp.ClientSession) -> None:
    """Each route by each method, which brings successes, refusals and what is not allowed."""
    resources = make_application(relay).router.resources()
    paths = {resource.canonical.format(device_id="cam", session_id="s") for resource in resources}
    assert {"/", "/ws/device", "/api/devices", "/whep/cam", "/whep/cam/s"} < paths
    statuses = set()
    for path in (*paths, "/nothing", "/whep/", "/%ff", "/whep/%ff%0d%0a"):
        for method in METHODS:
            async with http.request(method, path) as answer:
                statuses.add(answer.status)
                check(answer)
    assert {200, 400, 401, 404, 405} <= statuses


async def test_a_fault_of_ours_has_them_too(relay: Relay, http: aiohttp.ClientSession) -> None:
    """A 500, which nobody wrote, is answered as carefully."""
    await relay.store._engine.dispose()
    del relay.store._engine
    headers = {"Authorization": "Bearer x"}
    async with http.get("/api/ice-servers?device_id=cam", headers=headers) as answer:
        assert answer.status == 500
        check(answer)


@pytest.mark.parametrize(
    "said",
    [
        b"<script>alert(1)</script>\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: relay\r\nContent-Length: many\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: relay\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: relay\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: relay\r\n" + b"X: x\r\n" * 500 + b"\r\n",
    ],
)
async def test_what_is_no_http_is_answered_as_carefully(relay: Relay, said: bytes) -> None:
    """It gets an error that no browser renders, and the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(said)
    async with asyncio.timeout(DEADLINE_S):
        answer = await reader.read()
    status, *lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert status.split()[1] == "400"
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["Content-Type"].startswith("text/plain")
    see_security(headers, status)
    writer.close()


@pytest.mark.parametrize("path", ["/", "/main.js", "/page.css", "/icon.svg"])
async def test_a_file_is_sent_once(http: aiohttp.ClientSession, path: str) -> None:
    """A browser that has it is told so, even if a proxy in between compressed it."""
    async with http.get(path) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-cache"
        tag = answer.headers["ETag"]
        size = len(await answer.read())
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        async with http.get(path, headers={"If-None-Match": known}) as answer:
            assert answer.status == 304, known
            assert answer.headers["ETag"] == tag
            assert answer.headers["Cache-Control"] == "no-cache"
            assert await answer.read() == b""
            check(answer)
    async with http.get(path, headers={"If-None-Match": '"other"'}) as answer:
        assert len(await answer.read()) == size
    async with http.head(path) as answer:
        assert answer.headers["ETag"] == tag


async def test_each_file_has_a_tag_of_its_own(http: aiohttp.ClientSession) -> None:
    """It stands for what is in it."""
    tags = set()
    for path in ("/", "/main.js", "/page.css", "/icon.svg"):
        async with http.get(path) as answer:
            tags.add(answer.headers["ETag"])
    assert len(tags) == 4

"""What the relay serves over plain HTTP."""

import asyncio
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import aiohttp
import pytest

from server_stub.auth import hash_device_token, make_token
from server_stub.relay import Relay
from tests.server_stub.peers import SECRET, device
from tests.support import until

TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
}
PAGES = sorted(
    entry.name
    for entry in files("server_stub").joinpath("web").iterdir()
    if entry.name.rpartition(".")[2] in TYPES
)


@pytest.fixture
async def http(relay: Relay) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{relay.port}") as session:
        yield session


async def listed(http: aiohttp.ClientSession, user_id: str = "user") -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {make_token(SECRET, user_id, 60)}"}
    async with http.get("/api/devices", headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        devices: list[dict[str, Any]] = (await answer.json())["devices"]
        return devices


@pytest.mark.parametrize("name", PAGES)
async def test_the_page_is_served(http: aiohttp.ClientSession, name: str) -> None:
    """Each file of the page arrives whole, as what it is, and may do only what it needs."""
    async with http.get("/" if name == "index.html" else f"/{name}") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == TYPES[name.rpartition(".")[2]]
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert await answer.read() == files("server_stub").joinpath("web", name).read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/app.py",
        "/web/main.js",
        "/../app.py",
        "/%2e%2e/app.py",
        "/..%2fapp.py",
        "//etc/passwd",
        "/__init__.py",
        "/relay.db",
        "/api",
        "/ws",
    ],
)
async def test_nothing_else_is_served(relay: Relay, path: str) -> None:
    """What is no file of the page is not found, however the path is written."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    # By hand: a client would tidy the path up before it asks.
    writer.write(f"GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"Content-Security-Policy: " in answer
    writer.close()


async def test_it_says_that_it_is_well(http: aiohttp.ClientSession) -> None:
    """`/healthz` is for whoever watches over the process."""
    async with http.get("/healthz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")


@pytest.mark.parametrize("path", ["/ws/device", "/ws/viewer"])
async def test_a_socket_is_no_page(http: aiohttp.ClientSession, path: str) -> None:
    """A browser that opens a socket's address as a page is told that it is none."""
    async with http.get(path) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer nonsense", "Basic dXNlcjpwYXNz", "Bearer \u00fc"],
)
async def test_devices_are_listed_to_nobody_unknown(
    http: aiohttp.ClientSession, header: str | None
) -> None:
    """Without a good token there is no list, and the answer says what is missing."""
    headers = {} if header is None else {"Authorization": header}
    async with http.get("/api/devices", headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert await answer.json() == {"error": "Invalid token"}


async def test_an_expired_token_lists_nothing(http: aiohttp.ClientSession) -> None:
    """A token counts for the list only while it counts for the socket."""
    headers = {"Authorization": f"Bearer {make_token(SECRET, 'user', -5)}"}
    async with http.get("/api/devices", headers=headers) as answer:
        assert answer.status == 401


async def test_a_user_sees_its_own_devices(relay: Relay, http: aiohttp.ClientSession) -> None:
    """The list has what the user may watch, with its presence, and no secret."""
    await relay.store.add_device("attic", token_hash=hash_device_token("secret"))
    await relay.store.add_device("another's")
    await relay.store.grant("user", "attic")
    assert await listed(http, "stranger") == []
    absent = {"is_online": False, "last_seen_at": None, "presence": None}
    assert await listed(http) == [{"device_id": "attic"} | absent, {"device_id": "cam"} | absent]

    async with device(relay) as cam:
        await cam.send("device_presence", {"battery": 85, "lux": 1e400})
        await cam.nothing_came()
        await relay._records.join()
        attic, seen = await listed(http)
        assert attic == {"device_id": "attic"} | absent
        assert seen["is_online"]
        assert seen["last_seen_at"].endswith("+00:00")
        reported_at = seen["presence"].pop("reported_at")
        assert reported_at.endswith("Z")
        assert seen["presence"] == {"battery": 85, "lux": None}

    await until(lambda: not relay.devices)
    gone = (await listed(http))[1]
    assert not gone["is_online"]
    assert gone["last_seen_at"] is not None


async def test_a_page_may_only_be_read(http: aiohttp.ClientSession) -> None:
    """Nothing can be posted here."""
    async with http.post("/", data="x") as answer:
        assert answer.status == 405

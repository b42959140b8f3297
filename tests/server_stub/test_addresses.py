"""Where requests come from, behind proxies and from pages."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from server_stub.addresses import (
    SURROUNDINGS,
    Surroundings,
    client_address,
    normal_origin,
    origin_is_allowed,
)
from tests.server_stub.peers import relay_at

LOOPBACK = "127.0.0.0/8"


@asynccontextmanager
async def asked(
    headers: list[tuple[str, str]], *, proxies: str = "", origins: tuple[str, ...] = ()
) -> AsyncIterator[tuple[str, bool]]:
    """Ask a server over a real connection where we come from and whether our page may connect."""
    seen: list[tuple[str, bool]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((client_address(request), origin_is_allowed(request)))
        return web.Response()

    application = web.Application()
    networks = tuple(ipaddress.ip_network(text) for text in proxies.split())
    application[SURROUNDINGS] = Surroundings(networks, origins)
    application.router.add_get("/", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as got:
            assert got.status == 200
        yield seen[0]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        ("", ["203.0.113.7"], "127.0.0.1"),
        (LOOPBACK, [], "127.0.0.1"),
        (LOOPBACK, ["203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, ["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, ["6.6.6.6", "203.0.113.7"], "203.0.113.7"),
        (f"{LOOPBACK} 10.0.0.0/8", ["6.6.6.6, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        (f"{LOOPBACK} 10.0.0.0/8", ["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        (LOOPBACK, ["203.0.113.7:4711"], "203.0.113.7"),
        (LOOPBACK, ["[2001:db8::7]:4711"], "2001:db8::7"),
        (LOOPBACK, ["2001:DB8:0::7"], "2001:db8::7"),
        (LOOPBACK, ["::ffff:203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, ["203.0.113.7, unknown"], "127.0.0.1"),
        (LOOPBACK, ["203.0.113.7,"], "127.0.0.1"),
        ("192.0.2.0/24", ["203.0.113.7"], "127.0.0.1"),
        ("::1", ["203.0.113.7"], "127.0.0.1"),
    ],
)
async def test_the_last_hop_that_nobody_vouches_for_is_the_client(
    proxies: str, forwarded: list[str], address: str
) -> None:
    """Only configured proxies are believed, and only about who came to them."""
    headers = [("X-Forwarded-For", line) for line in forwarded]
    async with asked(headers, proxies=proxies) as (seen, _):
        assert seen == address


async def test_forwarded_is_not_read() -> None:
    """A proxy that writes the one header lets the client write the other."""
    async with asked([("Forwarded", "for=6.6.6.6")], proxies=LOOPBACK) as (seen, _):
        assert seen == "127.0.0.1"


HOST = ("Host", "relay.example.com")


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ([HOST], True),
        ([HOST, ("Origin", "https://relay.example.com")], True),
        ([HOST, ("Origin", "http://RELAY.example.com:80")], True),
        ([("Host", "relay.example.com:443"), ("Origin", "https://relay.example.com")], True),
        ([("Host", "[::1]:8000"), ("Origin", "http://[::1]:8000")], True),
        ([HOST, ("Origin", "https://relay.example.com:8443")], False),
        ([HOST, ("Origin", "https://evil.example.com")], False),
        ([HOST, ("Origin", "https://relay.example.com.evil.com")], False),
        ([HOST, ("Origin", "null")], False),
        ([HOST, ("Origin", "")], False),
        ([HOST, ("Origin", "file://")], False),
        ([HOST, ("Origin", "https://[")], False),
        ([HOST, ("Origin", "https://x@relay.example.com")], False),
        ([("Host", ""), ("Origin", "https://evil.example.com")], False),
        ([HOST, ("X-Forwarded-Host", "evil.com"), ("Origin", "https://evil.com")], False),
    ],
    ids=str,
)
async def test_a_page_of_ours_may_connect(
    headers: list[tuple[str, str]], *, is_allowed: bool
) -> None:
    """Without a list it is the page's host that counts, and what is no page may always."""
    async with asked(headers) as (_, allowed):
        assert allowed is is_allowed


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("https://home.example.com", True),
        ("https://HOME.example.com:443", True),
        ("http://home.example.com", False),
        ("https://relay.example.com", False),
        ("null", False),
    ],
)
async def test_a_list_says_which_pages_may(origin: str, *, is_allowed: bool) -> None:
    """With a list only what stands there may, our own host included."""
    origins = ("https://home.example.com",)
    async with asked([HOST, ("Origin", origin)], origins=origins) as (_, allowed):
        assert allowed is is_allowed
    async with asked([HOST, ("Origin", origin)], origins=("*",)) as (_, allowed):
        assert allowed


@pytest.mark.parametrize(
    ("forwarded", "is_allowed"),
    [
        ({"X-Forwarded-Host": "cam.example.com"}, True),
        ({"X-Forwarded-Host": "cam.example.com", "X-Forwarded-Proto": "https"}, True),
        ({"X-Forwarded-Host": "cam.example.com", "X-Forwarded-Proto": "http"}, False),
        ({"X-Forwarded-Host": "other.example.com"}, False),
        ({}, False),
    ],
)
async def test_a_proxy_says_what_the_browser_asked_for(
    forwarded: dict[str, str], *, is_allowed: bool
) -> None:
    """Where a proxy asks by another host, what it forwards is the host, and the scheme."""
    headers = [("Host", "inside:8000"), ("Origin", "https://cam.example.com"), *forwarded.items()]
    async with asked(headers, proxies=LOOPBACK) as (_, allowed):
        assert allowed is is_allowed


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"https?://[\[\]:@/?#.a-z0-9]*", fullmatch=True))
def test_any_text_is_an_origin_or_none(text: str) -> None:
    """Written normally, an origin stays as it is."""
    normal = normal_origin(text)
    assert normal is None or normal_origin(normal) == normal


async def _status(port: int, path: str, **headers: str) -> int:
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(url, headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as refused:
            return refused.status


@pytest.mark.parametrize("path", ["/ws/viewer", "/ws/device"])
async def test_a_strangers_page_is_refused_before_it_is_connected(
    tmp_path: Path, path: str
) -> None:
    """Both sockets answer 403 to a foreign page, and the log names it and its address."""
    changes: dict[str, Any] = {"trusted_proxies": "127.0.0.1"}
    async with relay_at(tmp_path, **changes) as relay:
        own = f"http://127.0.0.1:{relay.port}"
        with capture_logs(processors=[merge_contextvars]) as lines:
            foreign = {"Origin": "https://evil.example.com", "X-Forwarded-For": "203.0.113.7"}
            assert await _status(relay.port, path, **foreign) == 403
        (line,) = [line for line in lines if line["event"] == "origin.refused"]
        assert line["origin"] == "https://evil.example.com"
        assert line["address"] == "203.0.113.7"
        assert await _status(relay.port, path, Origin=own) == 101
        assert await _status(relay.port, path) == 101


async def test_listed_pages_may_connect(tmp_path: Path) -> None:
    """The setting takes several, and refuses our own page where that is not listed."""
    origins = "https://home.example.com, http://localhost:5173/"
    async with relay_at(tmp_path, allowed_origins=origins) as relay:
        for origin in ("https://home.example.com", "http://localhost:5173"):
            assert await _status(relay.port, "/ws/viewer", Origin=origin) == 101
        own = f"http://127.0.0.1:{relay.port}"
        assert await _status(relay.port, "/ws/viewer", Origin=own) == 403

"""The way to the server, step by step, against real servers that are wrong in one way each."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest
import trustme
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from camagent.check.findings import Finding, Verdict
from camagent.check.server import check_server
from camagent.signaling.options import LinkOptions
from tests.signaling.conftest import ScriptedServer
from tests.support import DEADLINE_S, running

OK, FAILED, SKIPPED = Verdict.OK, Verdict.FAILED, Verdict.SKIPPED


async def check(
    url: str, *, tls: ssl.SSLContext | None = None, hello: Finding | None = None
) -> dict[str, Finding]:
    """Check the way to `url`; give the findings by the last word of their names."""
    options = LinkOptions(url=url, device_id="cam", device_token="hush-hush", tls=tls)
    async with asyncio.timeout(2 * DEADLINE_S):
        findings = [finding async for finding in check_server(options, hello=hello)]
    return {finding.name.removeprefix("server "): finding for finding in findings}


def verdicts(findings: dict[str, Finding]) -> dict[str, Verdict]:
    return {name: finding.verdict for name, finding in findings.items()}


@asynccontextmanager
async def welcoming(scripted: ScriptedServer) -> AsyncIterator[None]:
    """Acknowledge the next hello."""

    async def welcome() -> None:
        await (await scripted.accepted()).welcome()

    async with running(welcome()):
        yield


async def test_a_server_that_accepts_us_is_ok_in_every_step(server: ScriptedServer) -> None:
    """The hello is a real one, and we leave at once."""
    device = asyncio.ensure_future(server.accepted())
    checking = asyncio.ensure_future(check(server.url))
    socket_of_device = await device
    assert (await socket_of_device.welcome())["payload"] == {"device_id": "cam"}
    findings = await checking
    await socket_of_device.websocket.wait_closed()

    assert verdicts(findings) == {"name": OK, "port": OK, "TLS": SKIPPED, "hello": OK}
    assert findings["name"].text == "127.0.0.1 is 127.0.0.1"
    assert findings["hello"].text == "the server accepted cam"
    assert socket_of_device.websocket.close_code == 1001


async def test_a_name_that_does_not_exist_ends_the_way() -> None:
    """What would need the name is skipped."""
    findings = await check("ws://camagent.invalid")

    assert verdicts(findings) == {"name": FAILED, "port": SKIPPED, "TLS": SKIPPED, "hello": SKIPPED}
    assert findings["name"].text.startswith("camagent.invalid is not found: ")
    assert findings["hello"].text == "it needs the server name, which failed"


async def test_a_name_that_cannot_be_one_is_told_likewise() -> None:
    """Such as one with two dots in a row."""
    assert (await check("ws://relay..example"))["name"].verdict is FAILED


async def test_a_closed_port_ends_the_way() -> None:
    """Nothing listens there."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        findings = await check(f"ws://127.0.0.1:{closed.getsockname()[1]}")

    assert verdicts(findings) == {"name": OK, "port": FAILED, "TLS": SKIPPED, "hello": SKIPPED}
    assert "refused" in findings["port"].text.lower()


class Authority:
    """A certificate authority, a server's certificate, and what a client needs to trust it."""

    def __init__(self, name: str = "localhost", **validity: Any) -> None:
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name, **validity).configure_cert(self.server)
        authority.configure_trust(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)


@asynccontextmanager
async def tls_server(authority: Authority) -> AsyncIterator[tuple[ScriptedServer, str]]:
    scripted = ScriptedServer()
    async with scripted.listening(ssl=authority.server):
        yield scripted, f"wss://localhost:{scripted.port}/ws/device"


async def test_a_certificate_that_is_trusted_is_ok() -> None:
    """Its version and its end are told."""
    end = datetime(2040, 5, 6, tzinfo=UTC)
    authority = Authority(not_after=end)
    async with tls_server(authority) as (scripted, url), welcoming(scripted):
        findings = await check(url, tls=authority.client)

    assert verdicts(findings) == {"name": OK, "port": OK, "TLS": OK, "hello": OK}
    assert findings["TLS"].text == "TLSv1.3, certificate valid until 2040-05-06"


async def test_a_certificate_from_the_future_means_the_clock() -> None:
    """On a Pi, which forgets the time, this is what it is."""
    start = datetime.now(UTC) + timedelta(days=30)
    authority = Authority(not_before=start, not_after=start + timedelta(days=30))
    async with tls_server(authority) as (_, url):
        findings = await check(url, tls=authority.client)

    assert verdicts(findings) == {"name": OK, "port": OK, "TLS": FAILED, "hello": SKIPPED}
    assert findings["TLS"].text.startswith("the clock of this Pi is not set yet: here it is ")
    assert "timedatectl" in str(findings["TLS"].fix)


async def test_an_expired_certificate_is_the_servers_to_renew() -> None:
    """Its time is over."""
    authority = Authority(not_after=datetime.now(UTC) - timedelta(days=1))
    async with tls_server(authority) as (_, url):
        finding = (await check(url, tls=authority.client))["TLS"]

    assert "has expired" in finding.text
    assert "renew" in str(finding.fix)


async def test_an_unknown_authority_can_be_made_known() -> None:
    """The setting that does it is named."""
    async with tls_server(Authority()) as (_, url):
        finding = (await check(url, tls=ssl.create_default_context()))["TLS"]

    assert "nobody this Pi trusts" in finding.text
    assert "CAMAGENT_SERVER_CA_FILE" in str(finding.fix)


async def test_a_certificate_for_another_name_is_told() -> None:
    """Both names are in the text, as OpenSSL says it."""
    authority = Authority("relay.example.com")
    async with tls_server(authority) as (_, url):
        finding = (await check(url, tls=authority.client))["TLS"]

    assert "another name" in finding.text
    assert "localhost" in finding.text


async def test_a_server_without_tls_is_found_out(server: ScriptedServer) -> None:
    """The URL says wss and the port does not."""
    url = server.url.replace("ws:", "wss:")
    finding = (await check(url, tls=ssl.create_default_context()))["TLS"]

    assert finding.verdict is FAILED
    assert "ws:// and not wss://" in str(finding.fix)


async def test_a_server_with_tls_is_found_out() -> None:
    """The URL says ws and the port wants wss."""
    async with tls_server(Authority()) as (_, url):
        finding = (await check(url.replace("wss:", "ws:")))["hello"]

    assert finding.verdict is FAILED
    assert "wss://" in str(finding.fix)


async def test_a_server_that_wants_our_certificate_is_understood() -> None:
    """With TLS 1.3 it says so only after the handshake."""
    authority = Authority()
    authority.server.verify_mode = ssl.CERT_REQUIRED
    async with tls_server(authority) as (_, url):
        finding = (await check(url, tls=authority.client))["hello"]

    assert finding.verdict is FAILED
    assert "CAMAGENT_CLIENT_CERT_FILE" in str(finding.fix)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (HTTPStatus.UNAUTHORIZED, "CAMAGENT_DEVICE_TOKEN"),
        (HTTPStatus.FORBIDDEN, "CAMAGENT_DEVICE_TOKEN"),
        (HTTPStatus.NOT_FOUND, "path"),
        (HTTPStatus.BAD_GATEWAY, "log"),
        (HTTPStatus.IM_A_TEAPOT, "log"),
    ],
)
async def test_an_answer_that_is_no_welcome_has_a_fix(status: HTTPStatus, told: str) -> None:
    """What the server's HTTP says leads to a setting, and no secret is told."""

    def refuse(connection: ServerConnection, _: Request) -> Response:
        return connection.respond(status, "no\n")

    scripted = ScriptedServer()
    async with scripted.listening(process_request=refuse):
        finding = (await check(scripted.url))["hello"]

    assert finding.verdict is FAILED
    assert str(status.value) in finding.text
    assert told in str(finding.fix)
    assert "hush-hush" not in finding.text


async def test_a_server_that_does_not_know_us_tells_why(server: ScriptedServer) -> None:
    """The reason of its 1008 is told."""

    async def reject() -> None:
        device = await server.accepted()
        await device.receive()
        await device.websocket.close(1008, "Device not found")

    async with running(reject()):
        finding = (await check(server.url))["hello"]

    assert finding.text == "server rejected this device: Device not found (1008)"
    assert "CAMAGENT_DEVICE_ID" in str(finding.fix)


async def test_a_running_agent_is_not_pushed_off(server: ScriptedServer) -> None:
    """What it tells stands in for the hello, and nobody connects a WebSocket."""
    told = Finding("server hello", Verdict.OK, "the running agent is online")
    findings = await check(server.url, hello=told)

    assert findings["hello"] is told
    assert server.connections == 0


async def test_a_running_agent_is_heard_even_if_the_way_is_broken() -> None:
    """It may have come another way, or know better what is wrong."""
    told = Finding("server hello", Verdict.OK, "the running agent is online")

    assert (await check("ws://camagent.invalid", hello=told))["hello"] is told


async def test_behind_a_proxy_only_the_hello_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and ports are the proxy's to find; its password is not told."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", f"http://me:top-secret@{proxy}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        findings = await check("ws://camagent.invalid")

    assert verdicts(findings) == {"name": SKIPPED, "port": SKIPPED, "TLS": SKIPPED, "hello": FAILED}
    assert findings["name"].text == f"the way goes through the proxy {proxy}"
    assert not any("top-secret" in finding.text for finding in findings.values())

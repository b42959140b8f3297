"""STUN and TURN servers: those a relay hands out, and those a person names."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from camagent.check.findings import Finding, Verdict
from camagent.check.ice import check_ice_servers
from camagent.settings import Settings
from server_stub.auth import hash_device_token
from server_stub.relay import Relay
from server_stub.turn import credential_for
from tests.coturn import coturn
from tests.server_stub.peers import relay_at
from tests.support import DEADLINE_S

OK, WARNING, FAILED, SKIPPED = Verdict.OK, Verdict.WARNING, Verdict.FAILED, Verdict.SKIPPED
LOOPBACK = "127.0.0.1"
SECRET = "shared with the TURN server"
TOKEN = "hush-hush-token"
USER, PASSWORD = "2000000000:us@er", credential_for("2000000000:us@er", SECRET)
NO_LIST = Finding(
    "ice", SKIPPED, "this server does not tell its ICE servers", "name one with --ice-server"
)


async def check(server_url: str, *named: str, **changes: Any) -> list[Finding]:
    """Check the servers of a device, and that no finding tells a secret."""
    values: dict[str, Any] = {
        "device_id": "cam",
        "server_url": server_url,
        "device_token": SecretStr(TOKEN),
        "_env_file": None,
    }
    async with asyncio.timeout(4 * DEADLINE_S):
        findings, _ = await check_ice_servers(Settings(**(values | changes)), named=named)
    told = repr(findings)
    assert not [secret for secret in (TOKEN, SECRET, PASSWORD, "device_check") if secret in told]
    assert {finding.name for finding in findings} <= {"ice"}
    return findings


def verdicts(findings: list[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


@asynccontextmanager
async def relay_of(
    folder: Path, *urls: str, stun: tuple[str, ...] = (), secret: str = SECRET
) -> AsyncIterator[Relay]:
    """Hold a relay that hands out these URLs and knows `cam` by its token."""
    changes: dict[str, Any] = {
        "stun_urls": stun,
        "turn_urls": urls,
        "turn_secret": SecretStr(secret),
    }
    async with relay_at(folder, **changes) as relay:
        await relay.store.remove_device("cam")
        await relay.store.add_device("cam", token_hash=hash_device_token(TOKEN))
        yield relay


@pytest.fixture
async def turn(program: Callable[[str, str], str], tmp_path: Path) -> AsyncIterator[str]:
    """Hold a coturn and give its `host:port`."""
    turnserver = program("turnserver", "coturn")
    async with coturn(turnserver, LOOPBACK, SECRET, tmp_path) as url:
        yield url.removeprefix("turn:").partition("?")[0]


@pytest.fixture
def closed() -> AsyncIterator[str]:
    """Hold a TCP port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        yield f"{LOOPBACK}:{taken.getsockname()[1]}"


async def test_servers_of_the_relay_are_ok_where_they_answer(turn: str, tmp_path: Path) -> None:
    """Each URL has a line of its own, with what the server gave us."""
    tcp = f"turn:{turn}?transport=tcp"
    async with relay_of(tmp_path, tcp) as relay:
        (finding,) = await check(f"ws://{LOOPBACK}:{relay.port}")

    assert finding.verdict is OK
    assert finding.text.startswith(f"{tcp} relays at {LOOPBACK} port ")
    assert finding.text.endswith(" ms")


async def test_a_secret_that_differs_fails(turn: str, tmp_path: Path) -> None:
    """Relay and TURN server do not agree: no viewer outside would get a picture."""
    url = f"turn:{turn}?transport=tcp"
    async with relay_of(tmp_path, url, secret="another") as relay:
        (finding,) = await check(f"ws://{LOOPBACK}:{relay.port}")

    assert finding.verdict is FAILED
    assert finding.text.startswith(f"{url}: 401 ")
    assert "CAMAGENT_RELAY_TURN_SECRET" in str(finding.fix)


async def test_one_turn_server_that_works_is_enough(turn: str, closed: str, tmp_path: Path) -> None:
    """Beside it, whatever fails is a warning only."""
    urls = f"turn:{closed}?transport=tcp", f"turn:{turn}?transport=tcp"
    async with relay_of(tmp_path, *urls, stun=("stuns:stun.example",)) as relay:
        findings = await check(f"ws://{LOOPBACK}:{relay.port}")

    assert verdicts(findings) == [WARNING, WARNING, OK]
    assert findings[1].text == f"{urls[0]}: connection refused"
    assert findings[1].fix == "check host and port, and that a STUN or TURN server runs there"


async def test_a_stun_server_that_works_is_not_enough(turn: str, closed: str) -> None:
    """Without any TURN server the failure of another counts."""
    async with no_list() as url:
        findings = await check(url, f"stun:{turn}", f"turn:{closed}?transport=tcp")

    assert verdicts(findings) == [SKIPPED, OK, FAILED]


async def test_a_silent_server_names_the_firewall() -> None:
    """No answer within seconds: whoever reads that knows which protocol to let through."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOOPBACK, 0))
        async with no_list() as url:
            _, finding = await check(url, f"stun:{LOOPBACK}:{silent.getsockname()[1]}")

    assert finding.verdict is FAILED
    assert finding.text.endswith(": no answer within 5 s")
    assert finding.fix == (
        "check host and port, and let UDP through every firewall on the way there"
    )


async def test_a_relay_without_servers_is_a_warning(tmp_path: Path) -> None:
    """At home it works; from outside it will not."""
    async with relay_at(tmp_path) as relay:
        (finding,) = await check(f"ws://{LOOPBACK}:{relay.port}")

    assert finding.verdict is WARNING
    assert finding.text == (
        "no STUN or TURN server: viewers outside this network will not get a picture"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"device_id": "attic"}, "Device not found"),
        ({"device_token": None}, "Invalid token"),
        ({"device_token": SecretStr("wrong")}, "Invalid token"),
    ],
)
async def test_a_device_that_the_relay_refuses_fails(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    """What the relay says is told, and which settings it may be."""
    async with relay_of(tmp_path) as relay:
        (finding,) = await check(f"ws://{LOOPBACK}:{relay.port}", **changes)

    assert finding.verdict is FAILED
    assert finding.text == f"the server does not tell this device its ICE servers: {text}"
    assert "CAMAGENT_DEVICE_TOKEN" in str(finding.fix)


@asynccontextmanager
async def answering(
    status: str, body: str = "", *headers: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[str]]]:
    """Hold a server that answers every request in the same way; give its URL and what it heard."""
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
        head = "".join(f"{line}\r\n" for line in [*lines, "Connection: close"])
        writer.write(f"{head}\r\n{body}".encode())
        writer.close()

    async with await asyncio.start_server(serve, LOOPBACK, 0, ssl=tls) as server:
        port = server.sockets[0].getsockname()[1]
        yield (f"ws://{LOOPBACK}:{port}" if tls is None else f"wss://localhost:{port}"), heard


@asynccontextmanager
async def no_list() -> AsyncIterator[str]:
    """Hold a server that has no list of ICE servers; give its URL."""
    async with answering("404 Not Found", "404: Not Found") as (url, _):
        yield url


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("404 Not Found", "404: Not Found"),
        ("404 Not Found", '{"detail": "Not Found"}'),
        ("404 Not Found", '{"error": "no such page"}'),
        ("401 Unauthorized", "<h1>Who are you?</h1>"),
        ("426 Upgrade Required", "this is a WebSocket"),
        ("204 No Content", ""),
        ("200 OK", ""),
        ("200 OK", "<!doctype html>"),
        ("200 OK", "[]"),
        ("200 OK", '{"ice_servers": {}}'),
        ("200 OK", '{"ice_servers": [{"url": "stun:stun.example"}]}'),
        ("200 OK", json.dumps({"ice_servers": [], "more": "x" * 100_000})),
    ],
)
async def test_a_server_without_a_list_is_skipped(status: str, body: str) -> None:
    """Another server of the same protocol need not have one; then a person may name servers."""
    async with answering(status, body) as (url, _):
        assert await check(url) == [NO_LIST]


@pytest.mark.parametrize("status", ["500 Internal Server Error", "502 Bad Gateway"])
async def test_a_server_in_trouble_fails(status: str) -> None:
    """A server that cannot answer now is told as that."""
    async with answering(status, "oh dear") as (url, _):
        (finding,) = await check(url)

    assert finding.verdict is FAILED
    assert finding.text.endswith(f"HTTP {status[:3]}")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Elsewhere", "308 For good"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    """The token goes to the server of the settings and to nobody else."""
    async with (
        answering("200 OK", '{"ice_servers": []}') as (elsewhere, heard),
        answering(status, "", f"Location: http{elsewhere.removeprefix('ws')}/") as (url, _),
    ):
        assert await check(url) == [NO_LIST]

    assert heard == []


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", "/api/ice-servers"),
        ("/ws/device", "/api/ice-servers"),
        ("/cameras/ws/device?key=1", "/cameras/api/ice-servers"),
        ("/somewhere", "/api/ice-servers"),
    ],
)
async def test_the_list_is_asked_for_beside_the_socket(path: str, asked: str) -> None:
    """The address follows from that of the socket; name and token go along."""
    async with answering("200 OK", '{"ice_servers": []}') as (url, heard):
        await check(f"{url}{path}", device_id="cam:1")

    assert heard[0].startswith(f"GET {asked}?device_id=cam%3A1 HTTP/1.1\r\n")
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n" in heard[0]


async def test_a_device_without_a_token_sends_none() -> None:
    """No header is better than an empty one."""
    async with answering("200 OK", '{"ice_servers": []}') as (url, heard):
        await check(url, device_token=None)

    assert "authorization" not in heard[0].lower()


async def test_a_server_that_is_not_there_is_skipped(closed: str) -> None:
    """That is what another step of the check tells; servers that are named are tried all the same."""
    findings = await check(f"ws://{closed}", f"turn:{closed}?transport=tcp")

    assert verdicts(findings) == [SKIPPED, FAILED]
    assert findings[0].text == "the server cannot be asked: connection refused"


async def test_the_certificates_of_the_settings_are_used(tmp_path: Path) -> None:
    """A server of an authority of our own is trusted, and is shown our certificate."""
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_tls)
    authority.configure_trust(server_tls)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    ours = authority.issue_cert("device@example.com")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "ours.pem")

    async with answering("200 OK", '{"ice_servers": []}', tls=server_tls) as (url, _):
        (known,) = await check(
            url,
            server_ca_file=tmp_path / "authority.pem",
            client_cert_file=tmp_path / "ours.pem",
        )

    assert known.verdict is WARNING
    assert known.text.startswith("no STUN or TURN server")


async def test_an_untrusted_server_is_not_asked() -> None:
    """A server whose certificate nobody vouches for does not get the token."""
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(server_tls)

    async with answering("200 OK", "{}", tls=server_tls) as (url, heard):
        (finding,) = await check(url)

    assert finding.verdict is SKIPPED
    assert finding.text == "the server cannot be asked: CERTIFICATE_VERIFY_FAILED"
    assert heard == []


async def test_certificates_that_are_none_are_told(tmp_path: Path) -> None:
    """Without a usable certificate nobody is asked."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")

    (finding,) = await check("wss://relay.example", server_ca_file=wrong)

    assert finding.verdict is SKIPPED
    assert finding.text == "the settings of the server's certificates are wrong"


async def test_a_named_server_is_tried_with_its_password(turn: str) -> None:
    """User and password stand before the host; a time-limited user name has colons in it."""
    async with no_list() as url:
        findings = await check(
            url,
            f"turn:{USER}:{PASSWORD}@{turn}?transport=tcp",
            f"turn:{USER}:{PASSWORD.replace('=', '%3D')}@{turn}?transport=tcp",
            f"turn:{USER}:wrong@{turn}?transport=tcp",
            f"turn:{turn}?transport=tcp",
        )

    assert verdicts(findings) == [SKIPPED, OK, OK, WARNING, WARNING]
    assert findings[0].fix is None
    assert findings[1].text.startswith(f"turn:{turn}?transport=tcp relays at {LOOPBACK} port ")
    assert str(findings[3].fix).startswith("check user and password")


@pytest.mark.parametrize(
    "text", ["", "turn", "turn:user@host", "turn://user:secret@host", f"turn:u:p@{'x' * 600}"]
)
async def test_a_name_that_cannot_be_read_fails(text: str) -> None:
    """It is told how to write one, and nothing of what was written."""
    async with no_list() as url:
        _, finding = await check(url, text)

    assert finding.verdict is FAILED
    assert finding.text == "a server that --ice-server names cannot be read"
    assert str(finding.fix).startswith("write it as stun:HOST:PORT or as turn:USER:PASSWORD@HOST")


async def test_a_named_url_that_no_session_uses_fails() -> None:
    """The cure for a URL of one's own is to write it otherwise."""
    async with no_list() as url:
        _, finding = await check(url, "http://turn.example")

    assert finding.verdict is FAILED
    assert str(finding.fix).startswith("write it as ")


async def test_a_password_in_a_relays_url_is_not_shown() -> None:
    """A relay that was set up in this way has a mistake, and keeps its secret."""
    body = json.dumps({"ice_servers": [{"urls": f"turn:user:{PASSWORD}@turn.example"}]})
    async with answering("200 OK", body) as (url, _):
        (finding,) = await check(url)

    assert finding.verdict is FAILED
    assert finding.text.startswith("turn:turn.example: it cannot be read")

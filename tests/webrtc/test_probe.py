"""STUN and TURN servers are tried: real ones, and all the ways in which there is none."""

import asyncio
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme
from aioice import stun, turn

from camagent.signaling.messages import IceServer
from camagent.webrtc.probe import Probe, probe_ice_server
from camagent.webrtc.server_problem import Problem
from server_stub.turn import IceServers
from tests.coturn import coturn
from tests.support import DEADLINE_S, eventually

SECRET = "shared with the TURN server"
LOOPBACK = "127.0.0.1"
SHORT_S = 0.3


def turn_server(*urls: str, secret: str = SECRET) -> IceServer:
    """Name a TURN server with a credential as the relay makes them."""
    servers = IceServers(turn_urls=urls, secret=secret, valid_for_s=600)
    return servers.for_device("check", now_s=2_000_000_000)[0]


async def probed(server: IceServer, *, deadline_s: float = DEADLINE_S) -> Probe:
    """Probe a server that has one URL."""
    (probe,) = await probe_ice_server(server, deadline_s=deadline_s)
    assert probe.url == server.all_urls[0]
    assert server.credential is None or server.credential not in repr(probe)
    return probe


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(
    program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[int]:
    """Hold a coturn for all tests and give its port."""
    turnserver = program("turnserver", "coturn")
    async with coturn(turnserver, LOOPBACK, SECRET, tmp_path_factory.mktemp("coturn")) as url:
        port = int(url.rpartition(":")[2].partition("?")[0])
        await eventually(lambda: answers_over_udp(port))
        yield port


async def answers_over_udp(port: int) -> bool:
    """Tell whether coturn serves UDP yet, for which it is ready later than for TCP."""
    (probe,) = await probe_ice_server(IceServer(urls=f"stun:{LOOPBACK}:{port}"))
    return probe.problem is None


async def test_a_stun_server_tells_our_address(port: int) -> None:
    """A binding request is answered with the address that it came from."""
    probe = await probed(IceServer(urls=f"stun:{LOOPBACK}:{port}"))

    assert probe.problem is None
    assert probe.text.startswith(f"sees us at {LOOPBACK} port ")
    assert 0 <= probe.took_ms < DEADLINE_S * 1000


@pytest.mark.parametrize("query", ["", "?transport=udp", "?transport=tcp"])
async def test_a_turn_server_relays(port: int, query: str) -> None:
    """With the right credential there is an allocation, whichever way the server is reached."""
    probe = await probed(turn_server(f"turn:{LOOPBACK}:{port}{query}"))

    assert probe.problem is None
    assert probe.text.startswith(f"relays at {LOOPBACK} port ")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_wrong_secret_is_told(port: int, transport: str) -> None:
    """A credential that was signed with another secret is what the server refuses, and no more."""
    url = f"turn:{LOOPBACK}:{port}?transport={transport}"
    probe = await probed(turn_server(url, secret="another"))

    assert probe.problem is Problem.CREDENTIAL
    assert probe.text.startswith("401 ")


async def test_a_missing_credential_is_told(port: int) -> None:
    """A TURN server serves nobody unknown."""
    probe = await probed(IceServer(urls=f"turn:{LOOPBACK}:{port}"))

    assert probe.problem is Problem.CREDENTIAL


async def test_each_url_has_its_own_result(port: int) -> None:
    """Results come in the order of the URLs, and a dead one costs the others nothing."""
    with silent_port() as silent:
        urls = (
            f"turn:{LOOPBACK}:{silent}",
            f"turn:{LOOPBACK}:{port}?transport=tcp",
            "http://nonsense",
            f"turn:{LOOPBACK}:{port}",
        )
        probes = await probe_ice_server(turn_server(*urls), deadline_s=2)

    assert [probe.url for probe in probes] == list(urls)
    assert [probe.problem for probe in probes] == [Problem.SILENT, None, Problem.URL, None]


@contextmanager
def silent_port() -> Iterator[int]:
    """Hold a UDP port that takes everything and answers nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((LOOPBACK, 0))
        yield silent.getsockname()[1]


@pytest.mark.parametrize("scheme", ["stun", "turn"])
async def test_silence_is_waited_out(scheme: str) -> None:
    """Without an answer there is an end all the same."""
    with silent_port() as port:
        server = IceServer(urls=f"{scheme}:{LOOPBACK}:{port}", username="u", credential="secret")
        probe = await probed(server, deadline_s=SHORT_S)

    assert probe.problem is Problem.SILENT
    assert probe.text == "no answer within 0.3 s"
    assert probe.took_ms >= 290


@pytest.mark.parametrize("scheme", ["turn", "turns"])
async def test_a_closed_tcp_port_refuses(scheme: str) -> None:
    """Where nothing listens, that is told at once."""
    with socket.socket() as closed:
        closed.bind((LOOPBACK, 0))
        port = closed.getsockname()[1]
        probe = await probed(turn_server(f"{scheme}:{LOOPBACK}:{port}?transport=tcp"))

    assert (probe.problem, probe.text) == (Problem.UNREACHABLE, "connection refused")


@pytest.mark.parametrize("scheme", ["stun", "turn"])
async def test_a_closed_udp_port_refuses(scheme: str) -> None:
    """The kernel's word that nothing listens there is not waited out."""
    with silent_port() as elsewhere, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        # Connected, it takes nothing from anybody else: for us the port is closed, and stays so.
        closed.bind((LOOPBACK, 0))
        closed.connect((LOOPBACK, elsewhere))
        server = IceServer(urls=f"{scheme}:{LOOPBACK}:{closed.getsockname()[1]}")
        probe = await probed(server)

    assert (probe.problem, probe.text) == (Problem.UNREACHABLE, "connection refused")


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "a\0b", "x" * 70])
@pytest.mark.parametrize("form", ["stun:{}", "turn:{}", "turn:{}?transport=tcp"])
async def test_an_unknown_name_is_told(form: str, host: str) -> None:
    """A name that nobody knows, or that is none, does not resolve."""
    # Where no name server is to be reached, the search for one takes long.
    probe = await probed(turn_server(form.format(host)), deadline_s=60)

    assert (probe.problem, probe.text) == (Problem.NAME, "its name does not resolve")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "it cannot be read as the URL of a STUN or TURN server"),
        ("http://turn.example", "it cannot be read as the URL of a STUN or TURN server"),
        (
            "turn:user:password@turn.example",
            "it cannot be read as the URL of a STUN or TURN server",
        ),
        (
            "stun:turn.example?transport=tcp",
            "it cannot be read as the URL of a STUN or TURN server",
        ),
        ("stuns:turn.example", "this agent does not use stuns: over udp"),
        ("turns:turn.example?transport=udp", "this agent does not use turns: over udp"),
        ("turn:turn.example?transport=sctp", "this agent does not use turn: over sctp"),
        ("turn:turn.example:0", "0 is no port"),
        ("turn:turn.example:65536", "65536 is no port"),
    ],
)
async def test_a_url_that_no_session_uses_is_told(url: str, text: str) -> None:
    """What aiortc would skip without a word is of no use, and not asked."""
    probe = await probed(IceServer(urls=url, username="u", credential="a secret"))

    assert (probe.problem, probe.text) == (Problem.URL, text)


async def test_a_server_that_hangs_up_is_not_waited_for() -> None:
    """Whoever closes the connection will not answer any more."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        probe = await probed(turn_server(f"turn:{LOOPBACK}:{port}?transport=tcp"))

    assert (probe.problem, probe.text) == (Problem.REFUSED, "the connection was closed")


class OpenTurnServer(asyncio.DatagramProtocol):
    """Answers the first request of each kind in `answers`, and is deaf to everything else.

    It asks for no credential.
    """

    def __init__(self, **answers: stun.Message) -> None:
        self.answers = answers
        self.heard: list[stun.Message] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        request = stun.parse_message(data)
        self.heard.append(request)
        answer = self.answers.pop(request.message_method.name, None)
        if answer is not None:
            answer.transaction_id = request.transaction_id
            self.transport.sendto(bytes(answer), address)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(LOOPBACK, 0))
        try:
            yield self.transport.get_extra_info("sockname")[1]
        finally:
            self.transport.close()


async def test_an_allocation_is_given_back_even_to_the_dead() -> None:
    """A server that dies after its answer is asked to take it back, though not for a minute."""
    allocated = {
        "LIFETIME": 600,
        "XOR-MAPPED-ADDRESS": ("192.0.2.1", 1),
        "XOR-RELAYED-ADDRESS": ("192.0.2.2", 2),
    }
    dying = OpenTurnServer(
        ALLOCATE=stun.Message(stun.Method.ALLOCATE, stun.Class.RESPONSE, attributes=allocated)
    )

    async with dying.listening() as port, asyncio.timeout(DEADLINE_S):
        # Giving back is bounded by itself, and after the answer nothing of it counts.
        probe = await probed(IceServer(urls=f"turn:{LOOPBACK}:{port}"), deadline_s=1)

    assert (probe.problem, probe.text) == (None, "relays at 192.0.2.2 port 2")
    assert probe.took_ms < 1000
    assert dying.heard[1].message_method is stun.Method.REFRESH
    assert dying.heard[1].attributes["LIFETIME"] == 0


async def test_a_server_without_room_is_told() -> None:
    """Any other error comes with the server's own words."""
    errors = {"ERROR-CODE": (486, "Allocation Quota Reached")}
    full = OpenTurnServer(
        ALLOCATE=stun.Message(stun.Method.ALLOCATE, stun.Class.ERROR, attributes=errors)
    )

    async with full.listening() as port:
        probe = await probed(IceServer(urls=f"turn:{LOOPBACK}:{port}"))

    assert probe.problem is Problem.REFUSED
    assert probe.text == "it answered with 486 Allocation Quota Reached"


@pytest.mark.parametrize(("scheme", "method"), [("stun", "BINDING"), ("turn", "ALLOCATE")])
async def test_an_answer_that_says_nothing_is_none(scheme: str, method: str) -> None:
    """A success without an address is of no use."""
    answer = stun.Message(stun.Method[method], stun.Class.RESPONSE)

    async with OpenTurnServer(**{method: answer}).listening() as port:
        probe = await probed(IceServer(urls=f"{scheme}:{LOOPBACK}:{port}"))

    assert probe.problem is Problem.REFUSED


@asynccontextmanager
async def tls_before(port: int, authority: trustme.CA) -> AsyncIterator[int]:
    """Hold what takes TLS off the way to `port`, as a TURN server does itself; give its port."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pump(reader, inner_writer))
            tasks.create_task(pump(inner_reader, writer))

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    async with await asyncio.start_server(serve, LOOPBACK, 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_turn_server_relays_over_tls(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of last resort works where the system trusts the server's certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    async with tls_before(port, authority) as outer:
        probe = await probed(turn_server(f"turns:localhost:{outer}?transport=tcp"))

    assert probe.problem is None
    assert probe.text.startswith(f"relays at {LOOPBACK} port ")


async def test_an_untrusted_certificate_is_told() -> None:
    """A certificate that nobody we trust has signed is as good as none."""
    async with tls_before(1, trustme.CA()) as outer:
        probe = await probed(turn_server(f"turns:localhost:{outer}?transport=tcp"))

    assert probe.problem is Problem.CERTIFICATE
    assert probe.text.startswith("its certificate is not trusted: ")


async def test_a_port_without_tls_is_told(port: int) -> None:
    """`turns:` at a port that speaks plain TURN gets no answer, and ends all the same."""
    url = f"turns:{LOOPBACK}:{port}?transport=tcp"
    probe = await probed(turn_server(url), deadline_s=SHORT_S)

    assert probe.problem is Problem.SILENT


# The names of aioice that no documentation promises: an upgrade that moves one fails here.


@pytest.mark.parametrize("kind", [turn.TurnClientUdpProtocol, turn.TurnClientTcpProtocol])
def test_a_turn_client_is_made_and_asked_by_these_names(
    kind: type[turn.TurnClientProtocol],
) -> None:
    """Its arguments, `connect`, `delete`, `request` and `relayed_address` are as we use them."""
    assert list(inspect.signature(kind).parameters) == [
        "server",
        "username",
        "password",
        "lifetime",
        "channel_refresh_time",
    ]
    for name, parameters in {"connect": [], "delete": [], "request": ["request"]}.items():
        method = getattr(kind, name)
        assert inspect.iscoroutinefunction(method)
        assert list(inspect.signature(method).parameters) == ["self", *parameters]
    client = kind(
        (LOOPBACK, 1),
        None,
        None,
        turn.DEFAULT_ALLOCATION_LIFETIME,
        turn.DEFAULT_CHANNEL_REFRESH_TIME,
    )
    assert client.relayed_address is None
    # It says nothing of a connection that is lost, so we listen for that ourselves.
    assert "error_received" not in vars(kind) | vars(turn.TurnClientMixin)
    assert list(inspect.signature(kind.connection_lost).parameters) == ["self", "exc"]


def test_a_failed_transaction_carries_the_servers_answer() -> None:
    """`TransactionFailed.response` has the ERROR-CODE as number and words; both kinds are errors."""
    answer = stun.Message(stun.Method.ALLOCATE, stun.Class.ERROR)
    answer.attributes["ERROR-CODE"] = (486, "Allocation Quota Reached")

    read = stun.parse_message(bytes(answer))

    assert stun.TransactionFailed(read).response.attributes["ERROR-CODE"] == (
        486,
        "Allocation Quota Reached",
    )
    assert issubclass(stun.TransactionFailed, stun.TransactionError)
    assert issubclass(stun.TransactionTimeout, stun.TransactionError)

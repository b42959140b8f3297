"""The device's WebSocket against a real server that behaves, misbehaves and goes away."""

import asyncio
import errno
import json
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from camagent.errors import LinkError
from camagent.signaling.causes import describe_error, is_ours, is_vanished, lost_silently
from camagent.signaling.lifecycle import LinkState
from camagent.signaling.link import Link
from camagent.signaling.messages import (
    Answer,
    DevicePresence,
    DeviceWatchRequest,
    HeartbeatAck,
    SessionReport,
    SignalAnswer,
    SignalIce,
    ToDevice,
    WatchEnded,
)
from camagent.signaling.options import LinkOptions
from tests.signaling.conftest import TS, DeviceSocket, ScriptedServer
from tests.support import DEADLINE_S, running, until

IMPATIENT: dict[str, Any] = {
    "device_id": "cam",
    "hello_deadline_s": 5.0,
    "first_retry_delay_s": 0.01,
    "longest_retry_delay_s": 0.02,
}


class Listener:
    """Keeps what the link tells."""

    def __init__(self) -> None:
        self.taken: list[ToDevice] = []
        self.active = 0
        self.lost = 0

    def link_active(self) -> None:
        self.active += 1

    def link_lost(self) -> None:
        self.lost += 1

    def take(self, message: ToDevice) -> None:
        self.taken.append(message)


class Rig:
    """A link, who listens to it, and what it reports."""

    def __init__(
        self, url: str, jitter: Callable[[float, float], float] = random.uniform, **options: Any
    ) -> None:
        self.listener = Listener()
        self.presence = {"camera": "idle"}
        self.link = Link(
            LinkOptions(url=url, **{**IMPATIENT, **options}),
            self.listener,
            lambda: DevicePresence.Payload(**self.presence),
            jitter=jitter,
        )


@asynccontextmanager
async def linked(server: ScriptedServer, **options: Any) -> AsyncIterator[Rig]:
    rig = Rig(server.url, **options)
    async with running(rig.link.run()):
        yield rig


def ice(session_id: str = "s") -> SignalIce:
    return SignalIce(payload=SignalIce.Payload(session_id=session_id, candidate=None))


async def test_hello_comes_first_and_nothing_before_hello_ack(server: ScriptedServer) -> None:
    """Until the server acknowledged, the device says hello and no more."""
    async with linked(server) as rig:
        device = await server.accepted()

        hello = await device.receive()
        rig.link.send(ice())
        assert rig.link.state is LinkState.HELLO_SENT
        await device.send_raw(
            json.dumps(
                {"type": "hello_ack", "ts": TS, "payload": {"device_id": "cam", "server_time": TS}}
            )
        )
        second = await device.receive()

    assert hello == {"type": "hello", "ts": hello["ts"], "payload": {"device_id": "cam"}}
    assert second["type"] == "device_presence"


async def test_presence_is_told_on_connect_and_on_change(server: ScriptedServer) -> None:
    """What matters is reported at once, not at the next interval."""
    async with linked(server) as rig:
        device = await server.accepted()
        await device.welcome()
        first = await device.receive("device_presence")
        rig.presence["camera"] = "live"
        rig.link.presence_changed()
        second = await device.receive("device_presence")

    assert first["payload"] == {"camera": "idle"}
    assert second["payload"] == {"camera": "live"}


async def test_presence_is_repeated(server: ScriptedServer) -> None:
    """Without any change the report is repeated at its interval."""
    async with linked(server, presence_interval_s=0.01):
        device = await server.accepted()
        await device.welcome()

        assert await device.receive("device_presence")
        assert await device.receive("device_presence")


async def test_heartbeats_go_on_while_they_are_answered(server: ScriptedServer) -> None:
    """An acknowledged heartbeat is followed by the next one on the same connection."""
    async with linked(server, heartbeat_interval_s=0.02):
        device = await server.accepted()
        await device.welcome()
        for _ in range(3):
            beat = await device.receive("heartbeat")
            assert beat["payload"] == {}
            await device.send_raw(json.dumps({"type": "heartbeat_ack", "ts": TS, "payload": {}}))

    assert server.connections == 1


async def test_an_unanswered_heartbeat_means_a_new_connection(server: ScriptedServer) -> None:
    """A server that stays silent is gone, although its socket is still open."""
    async with linked(server, heartbeat_interval_s=0.02, heartbeat_deadline_s=0.05) as rig:
        silent = await server.accepted()
        await silent.welcome()

        again = await server.accepted()
        await again.welcome()
        await until(lambda: rig.listener.active == 2)

    assert rig.listener.lost >= 1


async def test_a_server_that_never_acknowledges_is_left(server: ScriptedServer) -> None:
    """Without hello_ack within its deadline the device tries again."""
    async with linked(server, hello_deadline_s=0.3) as rig:
        await (await server.accepted()).receive("hello")
        await (await server.accepted()).receive("hello")

    assert rig.listener.active == 0


async def test_messages_reach_the_listener_in_order(server: ScriptedServer) -> None:
    """What the server sends is handed on as it came."""
    async with linked(server) as rig:
        device = await server.accepted()
        await device.welcome()
        request = DeviceWatchRequest(
            payload=DeviceWatchRequest.Payload(session_id="one", user_id="u")
        )
        await device.send(request)
        await device.send(ice("one"))
        await until(lambda: len(rig.listener.taken) == 2)

    assert [message.type for message in rig.listener.taken] == ["watch_request", "signal_ice"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"type": "sing"}', '{"type": "watch_request", "payload": {}}', "x" * 9999]
)
async def test_a_malformed_message_costs_nothing_else(server: ScriptedServer, text: str) -> None:
    """Garbage is logged and dropped; the connection and later messages are unharmed."""
    async with linked(server) as rig:
        device = await server.accepted()
        await device.welcome()
        await device.send_raw(text)
        await device.send(ice())
        await until(lambda: rig.listener.taken)

    assert [message.type for message in rig.listener.taken] == ["signal_ice"]
    assert server.connections == 1


async def test_an_error_of_the_server_is_logged(server: ScriptedServer) -> None:
    """An `error` message ends up in the log, with the server's words."""
    with capture_logs() as logs:
        async with linked(server):
            device = await server.accepted()
            await device.welcome()
            await device.send_raw(
                json.dumps({"type": "error", "ts": TS, "payload": {"message": "Session not found"}})
            )
            await until(lambda: any(line["event"] == "link.server_error" for line in logs))

    line = next(line for line in logs if line["event"] == "link.server_error")
    assert line["message"] == "Session not found"


async def test_the_extension_is_used_only_where_offered(server: ScriptedServer) -> None:
    """A device ends a session by itself only if the hello_ack listed watch_ended."""
    end = WatchEnded(
        payload=WatchEnded.Payload(session_id="s", reason="error", message="no camera")
    )
    async with linked(server) as rig:
        plain = await server.accepted()
        await plain.welcome()
        await rig.link.until_active()
        rig.link.send(end)
        rig.link.send(ice())
        assert (await plain.receive("signal_ice"))["type"] == "signal_ice"
        await plain.websocket.close()

        offering = await server.accepted()
        await offering.welcome(["watch_ended"])
        await offering.receive("device_presence")
        rig.link.send(end)
        received = await offering.receive("watch_ended")

    assert received["payload"] == {"session_id": "s", "reason": "error", "message": "no camera"}


async def test_without_the_extension_nothing_but_the_protocol_is_sent(
    server: ScriptedServer,
) -> None:
    """The dropped watch_ended is not sent later either: what follows it comes first."""
    async with linked(server) as rig:
        device = await server.accepted()
        await device.welcome()
        await device.receive("device_presence")
        rig.link.send(WatchEnded(payload=WatchEnded.Payload(session_id="s", reason="error")))
        rig.link.send(
            SessionReport(
                payload=SessionReport.Payload(
                    session_id="s", rung="low", reason="12% loss", bitrate_bps=250_000
                )
            )
        )
        rig.link.send(ice())

        assert (await device.receive())["type"] == "signal_ice"


async def test_a_clean_stop_says_going_away(server: ScriptedServer) -> None:
    """Stopping the agent closes the socket with 1001."""
    async with linked(server):
        device = await server.accepted()
        await device.welcome()
        await device.receive("device_presence")
    await device.websocket.wait_closed()

    assert device.websocket.close_code == 1001


@pytest.mark.parametrize("code", [1000, 1001, 1011])
async def test_a_closed_connection_is_opened_again(server: ScriptedServer, code: int) -> None:
    """Whatever the server's reason, the device comes back."""
    async with linked(server) as rig:
        first = await server.accepted()
        await first.welcome()
        await first.websocket.close(code)
        second = await server.accepted()
        await second.welcome()
        await until(lambda: rig.listener.active == 2)


async def test_an_aborted_connection_is_opened_again(server: ScriptedServer) -> None:
    """A connection that breaks without a goodbye is no end either."""
    async with linked(server):
        first = await server.accepted()
        await first.welcome()
        first.websocket.transport.abort()

        assert await (await server.accepted()).welcome()


@pytest.mark.parametrize(
    ("end", "ceiling_s"),
    [
        (lambda peer: peer.websocket.transport.abort(), 4.0),
        (lambda peer: asyncio.ensure_future(peer.websocket.close(1001)), 0.5),
    ],
    ids=["vanished", "goodbye"],
)
async def test_only_a_server_that_vanished_makes_a_fleet_spread(
    server: ScriptedServer, end: Callable[[DeviceSocket], object], ceiling_s: float
) -> None:
    """A server that died is met by its fleet over half of the longest delay, another at once."""
    ceilings: list[float] = []

    def draw(_low: float, high: float) -> float:
        ceilings.append(high)
        return 0.0

    rig = Rig(server.url, jitter=draw, first_retry_delay_s=0.5, longest_retry_delay_s=8.0)
    async with running(rig.link.run()):
        first = await server.accepted()
        await first.welcome()
        await until(lambda: rig.listener.active == 1)
        end(first)
        await (await server.accepted()).welcome()
        await until(lambda: rig.listener.active == 2)

    assert ceilings[0] == ceiling_s


async def test_policy_violation_is_a_rejection(server: ScriptedServer) -> None:
    """A 1008 is logged with the server's reason, waits the longest delay, and is tried again."""
    with capture_logs() as logs:
        async with linked(server, first_retry_delay_s=0.0001, longest_retry_delay_s=0.1):
            for _ in range(2):
                device = await server.accepted()
                await device.receive("hello")
                await device.websocket.close(1008, "Device not found")

    rejection = next(line for line in logs if line["event"] == "link.rejected")
    assert "Device not found" in rejection["cause"]
    assert rejection["retry_in_s"] == 0.1
    assert rejection["log_level"] == "warning"


@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN])
async def test_http_refusals_are_rejections(status: HTTPStatus) -> None:
    """401 and 403 on the upgrade wait the longest delay as a 1008 does."""
    scripted = ScriptedServer()
    tries = 0

    async def refuse(connection: ServerConnection, _request: Request) -> Response:
        nonlocal tries
        tries += 1
        return connection.respond(status, "go away\n")

    with capture_logs() as logs:
        async with (
            scripted.listening(process_request=refuse),
            linked(scripted, longest_retry_delay_s=0.05),
        ):
            await until(lambda: tries >= 2)

    assert (
        str(int(status)) in next(line for line in logs if line["event"] == "link.rejected")["cause"]
    )


async def test_other_refusals_are_losses() -> None:
    """A gateway's 502 is the server being away, not a rejection."""
    scripted = ScriptedServer()
    tries = 0

    async def fail(connection: ServerConnection, _request: Request) -> Response:
        nonlocal tries
        tries += 1
        return connection.respond(HTTPStatus.BAD_GATEWAY, "later\n")

    with capture_logs() as logs:
        async with scripted.listening(process_request=fail), linked(scripted):
            await until(lambda: tries >= 2)

    assert {line["event"] for line in logs} >= {"link.lost"}
    assert all(line["event"] != "link.rejected" for line in logs)


async def test_a_server_that_is_away_is_waited_for(server: ScriptedServer) -> None:
    """The device finds the server that starts after it."""
    port = server.port
    async with server.listening() as free:
        port = next(iter(free.sockets)).getsockname()[1]
    late = ScriptedServer()
    late.port = port
    async with linked(late) as rig:
        await until(lambda: rig.link.state is LinkState.DISCONNECTED)
        async with late.listening(port):
            assert await (await late.accepted()).welcome()


async def test_only_an_ack_that_held_resets_the_delays(server: ScriptedServer) -> None:
    """A server that accepts and drops at once is met with growing delays."""
    with capture_logs() as logs:
        async with linked(server, first_retry_delay_s=1e-6, longest_retry_delay_s=0.05):
            for _ in range(12):
                device = await server.accepted()
                await device.welcome()
                await device.websocket.close(1001)

    delays = [line["retry_in_s"] for line in logs if line["event"] == "link.lost"]
    assert len(delays) >= 11
    # One is said aloud, its repeats in a lower voice.
    levels = [line["log_level"] for line in logs if line["event"] == "link.lost"]
    assert levels[0] == "warning"


async def test_repeats_of_one_trouble_are_quiet() -> None:
    """The first failure is a warning; the same again is debug."""
    nowhere = ScriptedServer()
    async with nowhere.listening():
        pass
    with capture_logs() as logs:
        async with linked(nowhere):
            await until(lambda: sum(line["event"] == "link.lost" for line in logs) >= 4)

    levels = [line["log_level"] for line in logs if line["event"] == "link.lost"]
    assert levels[0] == "warning"
    assert set(levels[1:]) == {"debug"}


async def test_the_token_travels_as_a_bearer(server: ScriptedServer) -> None:
    """A device token is an Authorization header, and in no log line."""
    with capture_logs() as logs:
        async with linked(server, device_token="s3cret-token"):
            device = await server.accepted()
            await device.welcome()
            await device.receive("device_presence")
            assert device.websocket.request is not None
            header = device.websocket.request.headers["Authorization"]

    assert header == "Bearer s3cret-token"
    assert "s3cret" not in repr(logs)
    assert "s3cret" not in repr(LinkOptions(url="ws://a", device_id="b", device_token="s3cret"))


async def test_a_server_that_reads_nothing_loses_the_link(server: ScriptedServer) -> None:
    """When the outbox is full the connection is dropped, not the memory."""
    async with linked(server) as rig:
        stuck = await server.accepted()
        await stuck.welcome()
        await stuck.receive("device_presence")
        stuck.websocket.transport.pause_reading()
        long = "x" * 1000

        async def flood() -> None:
            while rig.listener.lost == 0:
                for _ in range(400):
                    rig.link.send(ice(long[:128]))
                await asyncio.sleep(0)

        async with asyncio.timeout(DEADLINE_S):
            await flood()

        assert rig.listener.lost == 1
        stuck.websocket.transport.abort()


async def fill(rig: Rig, device: DeviceSocket) -> None:
    """Let the server read no more, and send until its socket and ours hold what they can."""
    device.websocket.transport.pause_reading()
    answer = SignalAnswer(
        payload=SignalAnswer.Payload(session_id="s", sdp=Answer(sdp="x" * 60_000))
    )
    lost = rig.listener.lost
    async with asyncio.timeout(DEADLINE_S):
        while rig.listener.lost == lost:
            rig.link.send(answer)
            await asyncio.sleep(0.001)


async def test_a_server_that_takes_nothing_in_is_left_in_time(server: ScriptedServer) -> None:
    """Our goodbye waits behind what it does not take: not for ever, and not when we are stopped."""
    rig = Rig(server.url)
    link = asyncio.ensure_future(rig.link.run())
    stuck = await server.accepted()
    await stuck.welcome()
    await rig.link.until_active()
    await fill(rig, stuck)
    assert rig.link.state is LinkState.DISCONNECTING

    again = await server.accepted()
    assert not rig.link.progress.is_stuck
    await again.welcome()
    await rig.link.until_active()
    await fill(rig, again)
    link.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(link, DEADLINE_S)

    for device in (stuck, again):
        device.websocket.transport.abort()


async def test_every_state_of_the_lifecycle_is_passed(server: ScriptedServer) -> None:
    """The link walks the protocol's lifecycle in its order, and logs each move."""
    with capture_logs() as logs:
        async with linked(server):
            device = await server.accepted()
            await device.welcome()
            await device.receive("device_presence")

    moves = [line["state"] for line in logs if line["event"] == "link.state"]
    assert moves == [
        "connecting",
        "connected",
        "hello_sent",
        "authenticated",
        "active",
        "disconnecting",
        "disconnected",
    ]


async def test_an_extra_authority_is_trusted_for_wss(tmp_path: Path) -> None:
    """With the right CA a TLS server is reached, and our certificate is shown to it."""
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_tls)
    authority.configure_trust(server_tls)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    authority.issue_cert("device@example.com").configure_cert(client_tls)
    scripted = ScriptedServer()

    async with scripted.listening(ssl=server_tls):
        rig = Rig(f"wss://localhost:{scripted.port}/ws/device", tls=client_tls)
        async with running(rig.link.run()):
            assert await (await scripted.accepted()).welcome()


async def test_an_unknown_authority_is_a_loss() -> None:
    """A certificate that nobody we trust has signed keeps the device away, and is told."""
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(server_tls)
    scripted = ScriptedServer()

    with capture_logs() as logs:
        async with scripted.listening(ssl=server_tls):
            rig = Rig(
                f"wss://localhost:{scripted.port}/ws/device", tls=ssl.create_default_context()
            )
            async with running(rig.link.run()):
                await until(lambda: any(line["event"] == "link.lost" for line in logs))

    assert "CERTIFICATE_VERIFY_FAILED" in next(
        line["cause"] for line in logs if line["event"] == "link.lost"
    )


async def test_a_clock_that_is_not_set_is_told_as_that() -> None:
    """A certificate from the future means that this device lives in the past; soon again."""
    authority = trustme.CA()
    start = datetime.now(UTC) + timedelta(days=30)
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(
        "localhost", not_before=start, not_after=start + timedelta(days=30)
    ).configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    scripted = ScriptedServer()

    with capture_logs() as logs:
        async with scripted.listening(ssl=server_tls):
            url = f"wss://localhost:{scripted.port}/ws/device"
            # Were it the server's fault, the next attempt would be an hour away.
            rig = Rig(url, tls=client_tls, first_retry_delay_s=3600, longest_retry_delay_s=3600)
            async with running(rig.link.run()):
                await rig.link.until_settled()

    lost = next(line for line in logs if line["event"] == "link.lost")
    assert lost["cause"].startswith("the clock is not set yet: here it is 20")
    assert lost["retry_in_s"] <= 2
    assert rig.link.problem == lost["cause"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "the server's name is not found: [Errno -2] Name or service not known",
        ),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"),
            "nothing listens at the server's address: [Errno 111] Connect call failed",
        ),
        (OSError(errno.ENETUNREACH, "x"), "there is no network: [Errno 101] x"),
        (TimeoutError(), "the server does not answer"),
        (LinkError("no hello_ack within 10 s"), "no hello_ack within 10 s"),
        (EOFError("early"), "EOFError: early"),
    ],
)
def test_what_is_lost_is_told_in_a_sentence(error: Exception, sentence: str) -> None:
    """Whoever reads the log need not know what Python calls it."""
    assert describe_error(ExceptionGroup("", [ExceptionGroup("", [error])])) == sentence


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), False),
        (LinkError("no hello_ack within 10 s"), False),
    ],
)
def test_a_missing_network_is_no_fault_of_the_server(error: Exception, ours: bool) -> None:
    """What this side lacks is tried again soon: no server is spared by waiting."""
    assert is_ours(ExceptionGroup("", [error])) == ours
    assert str(error).rpartition("] ")[2] in describe_error(ExceptionGroup("", [error]))


async def test_the_first_attempt_settles_the_start() -> None:
    """Whether the server answers or not, the start is over after one attempt, and says how."""
    scripted = ScriptedServer()
    async with scripted.listening():
        url = scripted.url
        async with linked(scripted) as rig, asyncio.timeout(DEADLINE_S):
            await (await scripted.accepted()).welcome()
            await rig.link.until_settled()
            assert (rig.link.problem, rig.link.connections) == (None, 1)
    rig = Rig(url, first_retry_delay_s=3600, longest_retry_delay_s=3600)
    async with running(rig.link.run()), asyncio.timeout(DEADLINE_S):
        await rig.link.until_settled()
        assert "nothing listens" in str(rig.link.problem)
        assert not rig.link.progress.is_stuck


async def test_a_conversation_is_known_to_move() -> None:
    """The promise to the watchdog is renewed by every heartbeat and by nothing less."""
    now_s = 0.0
    scripted = ScriptedServer()
    async with scripted.listening(), linked(scripted, heartbeat_interval_s=0.05) as rig:
        rig.link.progress._clock = lambda: now_s
        device = await scripted.accepted()
        await device.welcome()
        await device.receive("heartbeat")
        now_s += 1e6
        assert rig.link.progress.is_stuck
        await device.send(HeartbeatAck())
        await until(lambda: not rig.link.progress.is_stuck)


@pytest.mark.parametrize(
    ("cause", "vanished"),
    [
        (None, True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (EOFError("stream ended"), True),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), False),
        (OSError(errno.EHOSTUNREACH, "no route"), False),
    ],
    ids=repr,
)
def test_a_network_that_gave_up_is_no_server_that_vanished(
    cause: Exception | None, *, vanished: bool
) -> None:
    """Only what the server's end did makes a device wait for a fleet."""
    assert is_vanished(ExceptionGroup("", [lost_silently(cause)])) is vanished

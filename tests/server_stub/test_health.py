"""What the relay says about itself: to a balancer, to Prometheus, in its log."""

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from camagent.errors import SettingsError
from server_stub.relay import Relay
from tests.server_stub.peers import client, device, relay_at, viewer, watch
from tests.support import until


async def _get(relay: Relay, path: str, *, port: int | None = None) -> tuple[int, Any]:
    async with (
        ClientSession() as session,
        session.get(f"http://127.0.0.1:{port or relay.port}{path}") as answer,
    ):
        kind = answer.content_type
        return answer.status, await (answer.json() if "json" in kind else answer.text())


async def test_a_relay_that_works_is_ready(relay: Relay) -> None:
    """Nothing is in the way of a new client."""
    told = {"ready": True, "reasons": [], "degraded": []}
    assert await _get(relay, "/readyz") == (200, told)


async def test_a_relay_that_stops_is_not_ready(relay: Relay) -> None:
    """A balancer sends nobody there any more; the process is alive all the same."""
    relay.unready_because = "draining"

    told = {"ready": False, "reasons": ["draining"], "degraded": []}
    assert await _get(relay, "/readyz") == (503, told)
    assert (await _get(relay, "/healthz"))[0] == 200


async def test_without_its_database_a_relay_is_not_ready(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason says what is wrong, and nothing of where the database is."""
    asked = 0

    async def away() -> None:
        nonlocal asked
        asked += 1
        raise OperationalError("select", None, OSError("secret-host is away"))

    monkeypatch.setattr(relay.store, "answer", away)
    for _ in range(5):
        status, told = await _get(relay, "/readyz")
        assert status == 503
        assert told["reasons"] == ["the database does not answer: OperationalError"]
    assert asked < 5
    assert (await _get(relay, "/healthz"))[0] == 200


async def test_without_redis_a_relay_is_degraded(tmp_path: Path) -> None:
    """What is local goes on, so clients may come; whoever looks sees what is missing."""
    async with relay_at(tmp_path, redis_url="redis://127.0.0.1:1/0") as relay, device(relay):
        status, told = await _get(relay, "/readyz")
        assert (status, told["degraded"]) == (200, ["Redis does not answer"])


@pytest.fixture
async def measured(tmp_path: Path) -> AsyncIterator[Relay]:
    async with relay_at(tmp_path, metrics_port=0) as held:
        yield held


async def _metrics(relay: Relay) -> dict[str, float]:
    status, text = await _get(relay, "/metrics", port=relay.metrics_port)
    assert status == 200
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


async def test_what_happens_is_counted(measured: Relay) -> None:
    """Connections, sessions, messages, forwards and refusals stand in the metrics."""
    relay = measured
    async with device(relay) as cam, viewer(relay) as user:
        session_id = await watch(user, cam)
        await user.send("signal_ice", {"session_id": session_id, "candidate": None})
        await cam.payload("signal_ice")
        during = await _metrics(relay)
        await user.send("end_watch", {"session_id": session_id})
        await cam.payload("watch_ended")
    async with client(relay, "viewer") as stranger:
        await stranger.send("hello", {"token": "forged"})
        await stranger.ended()
    await until(lambda: not relay.present)
    after = await _metrics(relay)

    for kind in ("device", "viewer"):
        assert during[f'camagent_relay_connections{{kind="{kind}"}}'] == 1
        assert after[f'camagent_relay_connections{{kind="{kind}"}}'] == 0
    assert during["camagent_relay_devices"] == 1
    assert (during["camagent_relay_sessions"], after["camagent_relay_sessions"]) == (1, 0)
    assert after['camagent_relay_sessions_ended_total{outcome="user_ended"}'] == 1
    messages = 'camagent_relay_messages_total{{direction="{}",type="{}"}}'
    assert during[messages.format("from_viewer", "signal_ice")] == 1
    assert during[messages.format("to_device", "signal_ice")] == 1
    assert during[messages.format("to_device", "watch_request")] == 1
    assert during["camagent_relay_forward_seconds_count"] == 1
    assert after['camagent_relay_auth_failures_total{kind="viewer"}'] == 1
    assert "process_resident_memory_bytes" in after


async def test_requests_that_are_not_let_in_are_counted(measured: Relay) -> None:
    """However they are refused: by an answer, by a problem, or at the door."""
    foreign = {"Origin": "https://elsewhere.example"}
    async with ClientSession(f"http://127.0.0.1:{measured.port}") as http:
        for path, headers, status in (
            ("/api/devices", {}, 401),
            ("/whep/cam/session", {}, 401),
            ("/ws/viewer", foreign, 403),
            ("/whep/cam/session", foreign, 403),
        ):
            async with http.get(path, headers=headers) as answer:
                assert answer.status == status
    counted = await _metrics(measured)
    assert counted['camagent_relay_auth_failures_total{kind="http"}'] == 4


async def test_metrics_are_not_on_the_public_port(measured: Relay) -> None:
    """They are for whoever runs the relay, wherever a proxy sits."""
    assert (await _get(measured, "/metrics"))[0] == 404


async def test_metrics_do_not_say_what_serves_them(measured: Relay) -> None:
    """Their answers are as careful as those of the public port."""
    async with ClientSession(f"http://127.0.0.1:{measured.metrics_port}") as http:
        for path, status in (("/metrics", 200), ("/whep/cam", 404)):
            async with http.get(path, headers={"Origin": "https://elsewhere.example"}) as answer:
                assert answer.status == status
                assert answer.headers["Server"] == "camagent-relay"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_metrics_that_cannot_be_served_stop_the_start(tmp_path: Path) -> None:
    """The sentence names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(SettingsError, match=f"METRICS_PORT={port}: cannot listen"):
            async with relay_at(tmp_path, metrics_port=port):
                pass


@pytest.mark.parametrize("end", ["leaves", "vanishes", "is refused", "is malformed"])
async def test_a_connection_has_one_line_that_says_why_it_ended(relay: Relay, end: str) -> None:
    """Whose it was, how it ended and how much was said; no token, and no line per message."""
    with capture_logs() as logs:
        async with contextlib.AsyncExitStack() as held:
            if end in ("leaves", "vanishes"):
                user = await held.enter_async_context(viewer(relay))
                for _ in range(3):
                    await user.nothing_came()
                if end == "vanishes":
                    user.websocket.transport.abort()
            else:
                user = await held.enter_async_context(client(relay, "viewer"))
                await user.send("hello", {"token": "s3cret"} if end == "is refused" else {})
                await user.ended()
        await until(lambda: not relay.present)
        await until(lambda: any(line["event"] == "connection.ended" for line in logs))

    (line,) = [line for line in logs if line["event"] == "connection.ended"]
    assert line["kind"] == "viewer"
    expected = {
        "leaves": ("client left", 1000, "user"),
        "vanishes": ("connection lost", 1006, "user"),
        "is refused": ("Invalid token", 1008, None),
        "is malformed": ("Invalid message: payload.token: missing", 1008, None),
    }
    assert (line["why"], line["code"], line.get("user_id")) == expected[end]
    assert line["received"] >= 1
    assert "s3cret" not in str(logs)
    assert len(logs) <= 3

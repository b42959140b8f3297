"""All sessions together: places, grace, restarts, and one failure that stays alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from camagent.signaling.messages import (
    DeviceWatchRequest,
    IceCandidate,
    Offer,
    SignalIce,
    SignalOffer,
    ToDevice,
    WatchEnded,
)
from camagent.signaling.router import Router
from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.registry import SessionRegistry
from camagent.webrtc.session import SessionLimits
from tests.support import running, until
from tests.webrtc.viewers import Outbox, camera, conductor_of, viewer


class House:
    """A registry, the router before it, and what both send."""

    def __init__(self, capture: Any, **options: Any) -> None:
        self.outbox = Outbox()
        self.changes = 0
        settings: dict[str, Any] = {
            "max_viewers": 8,
            "options": PeerOptions(),
            "limits": SessionLimits(),
            "grace_s": 30.0,
        }
        self.registry = SessionRegistry(
            camera=capture,
            conductor=conductor_of(capture),
            on_change=self._count,
            **(settings | options),
        )
        self.registry.send = self.outbox.send
        self.router = Router(self.registry)

    def _count(self) -> None:
        self.changes += 1

    def request(self, session_id: str) -> None:
        payload = DeviceWatchRequest.Payload(session_id=session_id, user_id="u")
        self.router.take(DeviceWatchRequest(payload=payload))

    def take(self, message: ToDevice) -> None:
        self.router.take(message)

    def offer(self, session_id: str, sdp: str) -> None:
        payload = SignalOffer.Payload(session_id=session_id, sdp=Offer(sdp=sdp))
        self.take(SignalOffer(payload=payload))

    def end(self, session_id: str, reason: str = "user_ended") -> None:
        payload = WatchEnded.Payload.model_validate({"session_id": session_id, "reason": reason})
        self.take(WatchEnded(payload=payload))

    def ended(self) -> list[WatchEnded.Payload]:
        return [message.payload for message in self.outbox.of_type("watch_ended")]


@asynccontextmanager
async def house(**options: Any) -> AsyncIterator[House]:
    async with camera() as capture:
        built = House(capture, **options)
        async with running(built.registry.run()):
            await asyncio.sleep(0)
            built.router.link_active()
            yield built


async def test_a_session_runs_from_request_to_end() -> None:
    """Through the router: request, offer, answer, picture, watch_ended."""
    async with house() as built, viewer() as one:
        built.request("s")
        assert built.registry.viewer_count == 1
        built.offer("s", await one.offer())
        await one.accept(await built.outbox.answer())
        assert await one.picture()
        built.end("s")
        await until(lambda: built.registry.viewer_count == 0)

        await until(lambda: built.changes == 2)
        assert built.ended() == [], "the server knows, for it ended the session itself"


@pytest.mark.parametrize("kind", ["signal_offer", "signal_ice", "watch_ended"])
async def test_a_message_for_no_session_is_dropped_with_a_warning(kind: str) -> None:
    """Sessions that no watch_request announced do not exist."""
    messages: dict[str, ToDevice] = {
        "signal_offer": SignalOffer(
            payload=SignalOffer.Payload(session_id="ghost", sdp=Offer(sdp="v=0"))
        ),
        "signal_ice": SignalIce(payload=SignalIce.Payload(session_id="ghost", candidate=None)),
        "watch_ended": WatchEnded(
            payload=WatchEnded.Payload(session_id="ghost", reason="user_ended")
        ),
    }
    async with house() as built:
        with capture_logs() as logs:
            built.take(messages[kind])

        assert [line["event"] for line in logs] == ["session.unknown"]
        assert logs[0]["log_level"] == "warning"
        assert built.outbox.sent == []


async def test_no_more_viewers_than_allowed() -> None:
    """The viewer beyond the limit is told so; a place that was left is given again."""
    async with house(max_viewers=2) as built:
        for name in ("one", "two", "three"):
            built.request(name)
        assert built.registry.viewer_count == 2
        assert [(end.session_id, end.reason) for end in built.ended()] == [("three", "error")]
        assert "at most 2 viewers" in (built.ended()[0].message or "")

        built.end("one")
        built.request("four")
        assert built.registry.viewer_count == 2
        assert len(built.ended()) == 1


async def test_a_known_id_starts_the_session_anew() -> None:
    """A second watch_request for an id ends the old session and takes a fresh offer."""
    async with house(max_viewers=1) as built, viewer() as one, viewer() as other:
        built.request("s")
        built.offer("s", await one.offer())
        await one.accept(await built.outbox.answer())
        await one.picture()

        built.request("s")
        built.outbox.sent.clear()
        built.offer("s", await other.offer())
        await other.accept(await built.outbox.answer())

        assert await other.picture()
        assert built.registry.viewer_count == 1


async def test_one_viewers_failure_is_its_own() -> None:
    """A broken offer ends its session, tells why, and leaves the others their picture."""
    async with house() as built, viewer() as one:
        built.request("good")
        built.request("bad")
        built.offer("bad", "v=0\r\nm=video")
        built.offer("good", await one.offer())
        await one.accept(await built.outbox.answer())
        assert await one.picture()
        await until(built.ended)

        assert [(end.session_id, end.reason) for end in built.ended()] == [("bad", "error")]
        assert built.registry.viewer_count == 1


async def test_a_fault_of_ours_is_contained() -> None:
    """Even an exception that nobody foresaw ends one session only, and is logged as a crash."""

    class Faulty:
        hub = None

        def watched(self) -> Any:
            raise RuntimeError("a bug")

    async with camera() as capture:
        built = House(capture)
        with capture_logs() as logs:
            async with running(built.registry.run()) as task:
                await asyncio.sleep(0)
                built.registry._camera = capture
                built.request("s")
                session = built.registry.find("s", "test")
                assert session is not None
                session._camera = Faulty()  # type: ignore[assignment]
                await until(built.ended)
                assert not task.done()

    assert "session.crashed" in [line["event"] for line in logs]
    assert "a bug" not in (built.ended()[0].message or "")


async def test_sessions_survive_a_lost_link_for_the_grace() -> None:
    """The picture goes on without the server, and ends when the grace is over."""
    async with house(grace_s=2.0) as built, viewer() as one:
        built.request("s")
        built.offer("s", await one.offer())
        await one.accept(await built.outbox.answer())
        await one.picture()

        built.router.link_lost()
        assert await one.picture()
        assert built.registry.viewer_count == 1
        await until(lambda: built.registry.viewer_count == 0)


async def test_a_session_that_the_new_link_speaks_of_goes_on() -> None:
    """After a reconnect the server owns again what it mentions, and only that."""
    async with house(grace_s=0.2) as built:
        built.request("mentioned")
        built.request("forgotten")
        built.router.link_lost()
        built.router.link_active()
        candidate = IceCandidate(candidate="candidate:1 1 udp 1 192.0.2.1 1 typ host")
        payload = SignalIce.Payload(session_id="mentioned", candidate=candidate)
        built.take(SignalIce(payload=payload))

        await until(lambda: "forgotten" not in built.registry._entries)
        assert built.registry.find("mentioned", "test") is not None


async def test_one_line_tells_a_sessions_story() -> None:
    """At its end a session logs why, how long, what was sent and how fast each stage came."""
    with capture_logs() as logs:
        async with house() as built, viewer() as one:
            built.request("s")
            built.offer("s", await one.offer())
            await one.accept(await built.outbox.answer())
            await one.picture()
            built.end("s")
            await until(lambda: any(line["event"] == "session.closed" for line in logs))

    line = next(line for line in logs if line["event"] == "session.closed")
    assert line["outcome"] == "SessionEnded"
    assert line["why"] == "user_ended"
    assert line["pair"] == "host/host"
    assert line["frames"] >= 1
    assert line["keyframes"] >= 1
    assert line["bytes"] > 0
    assert line["first_frame_ms"] >= 0
    assert "offer_sent:" in line["stages_ms"]


async def test_stopping_ends_every_session() -> None:
    """A clean stop closes all peer connections and logs a line for each."""
    with capture_logs() as logs:
        async with house() as built:
            for name in ("one", "two"):
                built.request(name)
            await until(lambda: sum(line["event"] == "session.opened" for line in logs) == 2)

    closed = [line for line in logs if line["event"] == "session.closed"]
    assert [line["why"] for line in closed] == ["agent stopped", "agent stopped"]


async def test_what_crossed_an_end_is_no_warning() -> None:
    """A candidate or end that was on its way while the session ended is dropped quietly."""
    async with house() as built:
        built.request("s")
        built.end("s")
        await until(lambda: "s" not in built.registry._entries)
        with capture_logs() as logs:
            built.end("s")

    assert [line["log_level"] for line in logs if line["event"] == "session.unknown"] == ["debug"]


async def test_closed_doors_end_everybody_and_say_why() -> None:
    """Who watches is told and let go, who asks is refused, until the doors open again."""
    async with house() as built, viewer() as one:
        built.request("s")
        built.offer("s", await one.offer())
        await one.accept(await built.outbox.answer())
        assert await one.picture()
        built.registry.close_doors("switched off")
        await until(lambda: built.registry.viewer_count == 0)
        built.request("late")
        await until(lambda: len(built.ended()) == 2)
        built.registry.open_doors()
        built.request("again")
        assert built.registry.viewer_count == 1

    assert sorted((end.session_id, end.reason, end.message) for end in built.ended()) == [
        ("late", "error", "switched off"),
        ("s", "error", "switched off"),
    ]


async def test_totals_count_those_who_left_and_those_who_stay() -> None:
    """Frames and bytes only grow, and every end is counted by how it came."""
    async with house() as built, viewer() as one:
        built.request("s")
        built.offer("s", await one.offer())
        await one.accept(await built.outbox.answer())
        assert await one.picture()
        during = built.registry.totals()
        built.end("s")
        await until(lambda: built.registry.totals().ended)
        after = built.registry.totals()

    assert 0 < during.frames <= after.frames
    assert 0 < during.bytes <= after.bytes
    assert after.ended == {"SessionEnded": 1}


async def test_who_watched_stands_on_every_line_of_a_session() -> None:
    """The last line alone is a watch log: who, how long, how, and why it ended."""
    lines: list[dict[str, Any]] = []

    def keep(_logger: Any, _name: str, event: dict[str, Any]) -> dict[str, Any]:
        lines.append(dict(event))
        raise structlog.DropEvent

    configuration = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    try:
        async with house() as built:
            built.request("s")
            built.end("s")
            await until(lambda: any(line["event"] == "session.closed" for line in lines))
    finally:
        structlog.configure(**configuration)

    told = [line for line in lines if line["event"] in {"session.opened", "session.closed"}]
    assert {(line["user_id"], line["session_id"]) for line in told} == {("u", "s")}
    assert len(told) == 2

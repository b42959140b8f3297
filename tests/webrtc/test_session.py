"""One viewer's session: the real test picture to a real aiortc viewer, and every way it ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from camagent.errors import (
    CameraError,
    CameraUnavailable,
    ConnectFailed,
    NegotiationFailed,
    SessionEnded,
    SessionTooLong,
    ViewerLost,
)
from camagent.media.frame import Encoding
from camagent.media.timestamp import read_timestamp
from camagent.signaling.messages import IceCandidate
from camagent.webrtc.packing import Packing
from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.sender import VideoSender
from camagent.webrtc.session import Session, SessionLimits, SessionState
from tests.support import DEADLINE_S, until
from tests.webrtc.viewers import (
    HEIGHT_PX,
    WIDTH_PX,
    Outbox,
    camera,
    candidates_of,
    conductor_of,
    outcome,
    viewer,
    without_candidates,
)


def new_session(
    capture: Any, outbox: Outbox, expect_frames: Callable[[], None] = lambda: None, **limits: Any
) -> Session:
    return Session(
        "s",
        ice_servers=(),
        options=PeerOptions(),
        limits=SessionLimits(**limits),
        camera=capture,
        sender=VideoSender(Packing()),
        serve_frames=conductor_of(capture).served,
        expect_frames=expect_frames,
        send=outbox.send,
    )


@asynccontextmanager
async def streaming(**limits: Any) -> AsyncIterator[tuple[Any, Any, Any, Any, Any]]:
    """Hold a session that streams to a viewer."""
    outbox = Outbox()
    async with camera() as capture, viewer() as one:
        session = new_session(capture, outbox, **limits)
        running = asyncio.ensure_future(outcome(session))
        session.take_offer(await one.offer())
        await one.accept(await outbox.answer())
        await one.picture()
        try:
            yield session, one, running, capture, outbox
        finally:
            session.end("the test is over")
            await running


async def test_a_viewer_sees_the_moving_picture() -> None:
    """Pictures decode at their size, and their capture time goes on."""
    async with streaming() as (session, one, *_):
        first, second = await one.picture(), await one.picture()

        assert (first.width, first.height) == (WIDTH_PX, HEIGHT_PX)
        luma = [frame.to_ndarray()[:HEIGHT_PX] for frame in (first, second)]
        assert read_timestamp(luma[1]) > read_timestamp(luma[0])
        await until(lambda: session.state is SessionState.STREAMING)
        assert session.ledger.pair_type == "host/host"


async def test_every_stage_is_in_the_ledger() -> None:
    """The ledger notes when each state was reached, in order."""
    async with streaming() as (session, _, running, *_):
        await until(lambda: session.state is SessionState.STREAMING)
        session.end("user_ended")
        await running

    assert list(session.ledger.reached_ms) == [
        "connecting",
        "offer_sent",
        "answer_received",
        "ice_gathering",
        "connected",
        "streaming",
        "ending",
        "ended",
    ]
    times = list(session.ledger.reached_ms.values())
    assert times == sorted(times)
    assert session.sender.tally.payload_bytes > 0
    assert session.sender.tally.keyframes >= 1


async def test_candidates_flow_both_ways() -> None:
    """With no candidate inside the descriptions, trickled ones connect the two."""
    outbox = Outbox()
    async with camera() as capture, viewer() as one:
        session = new_session(capture, outbox)
        running = asyncio.ensure_future(outcome(session))
        offer = await one.offer()
        for candidate in candidates_of(offer):  # before the offer: they have to wait for it
            session.take_candidate(candidate)
        session.take_candidate(None)
        session.take_offer(without_candidates(offer))

        await one.accept(without_candidates(await outbox.answer()))
        await until(lambda: None in outbox.candidates())
        for candidate in outbox.candidates():
            await one.add(candidate)

        assert await one.picture()
        session.end("user_ended")
        await running
    assert outbox.sent[0].type == "signal_answer", "nothing is sent before the answer"


async def test_what_else_a_viewer_offers_costs_nothing() -> None:
    """Audio and data channel are refused and its video goes unheard: the answer only sends."""
    outbox = Outbox()
    async with camera() as capture, viewer(also_offers_everything=True) as one:
        session = new_session(capture, outbox)
        running = asyncio.ensure_future(outcome(session))
        session.take_offer(await one.offer())
        answer = await outbox.answer()
        session.end("user_ended")
        await running

    sections = [line for line in answer.splitlines() if line.startswith("m=")]
    assert [line.split(" ")[:2] for line in sections if not line.startswith("m=video")] == [
        ["m=audio", "0"],
        ["m=application", "0"],
    ]
    assert "a=sendonly" in answer.splitlines()
    assert "a=sendrecv" not in answer.splitlines()
    assert "a=recvonly" not in answer.splitlines()


async def test_an_offer_without_h264_is_refused() -> None:
    """The reason names the codec."""
    async with camera() as capture, viewer() as one:
        one.prefer("video/VP8")
        session = new_session(capture, Outbox())
        session.take_offer(await one.offer())

        error = await outcome(session)

    assert isinstance(error, NegotiationFailed)
    assert "H.264" in str(error)


@pytest.mark.parametrize("mode", ["packetization-mode=0", "profile-level-id=640c1f"])
async def test_an_offer_with_the_wrong_h264_is_refused(mode: str) -> None:
    """Another packetization mode or profile is not ours."""
    async with camera() as capture, viewer() as one:
        one.prefer("video/H264")
        offer = await one.offer()
        name, _, _ = mode.partition("=")
        lines = [
            ";".join(mode if part.startswith(name) else part for part in line.split(";"))
            for line in offer.replace(f" {name}", f" ;{name}").splitlines()
        ]
        session = new_session(capture, Outbox())
        session.take_offer("\r\n".join(lines).replace(" ;", " ") + "\r\n")

        error = await outcome(session)

    assert isinstance(error, NegotiationFailed)
    assert "H.264" in str(error)


@pytest.mark.parametrize("damage", ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup"])
async def test_a_damaged_offer_ends_its_session_only(damage: str) -> None:
    """Whatever aiortc trips over is told as the offer's fault or as a failed connection."""
    async with camera() as capture, viewer() as one:
        offer = await one.offer()
        session = new_session(capture, Outbox(), connect_deadline_s=1.0)
        session.take_offer(
            "".join(f"{line}\r\n" for line in offer.splitlines() if not line.startswith(damage))
        )

        error = await outcome(session)

    assert isinstance(error, NegotiationFailed | ConnectFailed), repr(error)


async def test_without_an_offer_the_session_ends() -> None:
    """A viewer that asks and then says nothing holds its place for the deadline only."""
    async with camera() as capture:
        error = await outcome(new_session(capture, Outbox(), offer_deadline_s=0.05))

    assert isinstance(error, NegotiationFailed)
    assert "no offer came" in str(error)


async def test_without_a_connection_the_session_ends() -> None:
    """A viewer that never connects is told so after the deadline, with the stage it hung in."""
    async with camera() as capture, viewer() as one:
        session = new_session(capture, Outbox(), connect_deadline_s=1.0)
        session.take_offer(without_candidates(await one.offer()))

        error = await outcome(session)

    assert isinstance(error, ConnectFailed)
    assert "ice did not finish" in str(error)


async def test_frames_are_expected_once_a_way_is_found() -> None:
    """A keyframe is asked for while DTLS shakes hands: after the answer, before media may flow."""
    outbox, states = Outbox(), []
    async with camera() as capture, viewer() as one:
        session = new_session(capture, outbox, lambda: states.append(session.state))
        running = asyncio.ensure_future(outcome(session))
        session.take_offer(await one.offer())
        await outbox.answer()
        assert states == []
        await one.accept(await outbox.answer())
        await one.picture()
        session.end("the test is over")
        await running
    assert states == [SessionState.ICE_GATHERING]


async def test_nobody_is_expected_whom_ice_does_not_find() -> None:
    """What connects to nothing costs the other viewers no keyframe."""
    expected: list[None] = []
    async with camera() as capture, viewer() as one:
        session = new_session(
            capture, Outbox(), lambda: expected.append(None), connect_deadline_s=0.2
        )
        session.take_offer(without_candidates(await one.offer()))
        await outcome(session)
    assert expected == []


async def test_a_viewer_that_closes_is_lost() -> None:
    """Closing the peer connection at the viewer ends the session here."""
    async with streaming() as (_, one, running, *_):
        await one.connection.close()
        error = await running

    assert isinstance(error, ViewerLost)


async def test_a_session_lasts_no_longer_than_allowed() -> None:
    """The longest duration counts from the connection on."""
    async with streaming(longest_s=3.0) as (_, _, running, *_):
        error = await running

    assert isinstance(error, SessionTooLong)


async def test_the_server_ends_a_session() -> None:
    """watch_ended closes the peer connection with the server's reason."""
    async with streaming() as (session, _, running, *_):
        session.end("user_ended")
        error = await running

        assert isinstance(error, SessionEnded)
        assert str(error) == "user_ended"
        assert session.state is SessionState.ENDED


class NoCamera:
    """A source that cannot be opened."""

    name = "nothing"

    @contextmanager
    def opened(self, publish: object) -> Iterator[Encoding]:
        raise CameraError(f"the camera is busy: process 42 has it, not {type(publish).__name__}")
        yield


async def test_a_camera_that_cannot_serve_ends_the_session_with_its_reason() -> None:
    """The viewer learns what is wrong with the camera, without making an offer first."""
    async with camera(source=NoCamera()) as capture:
        error = await outcome(new_session(capture, Outbox()))

    assert isinstance(error, CameraUnavailable)
    assert "process 42 has it" in str(error)


async def test_the_camera_starts_with_the_request() -> None:
    """The camera runs before there is an offer, and stops when the session is over."""
    async with camera() as capture:
        session = new_session(capture, Outbox())
        running = asyncio.ensure_future(outcome(session))
        await until(lambda: capture.hub.frames_published > 0)
        session.end("user_ended")
        await running
        await until(lambda: capture.state.name == "IDLE")


async def test_a_keyframe_comes_at_join_and_on_request() -> None:
    """The second viewer of a running stream gets a keyframe of its own, long before the interval."""
    async with streaming() as (_, one, _, capture, _):
        forced = capture.hub.keyframes_forced
        receiver = one.connection.getReceivers()[0]
        ssrc = next(iter(receiver.getSynchronizationSources())).source
        await receiver._send_rtcp_pli(ssrc)
        await until(lambda: capture.hub.keyframes_forced > forced)

        outbox = Outbox()
        async with viewer() as other:
            session = new_session(capture, outbox)
            running = asyncio.ensure_future(outcome(session))
            session.take_offer(await other.offer())
            await other.accept(await outbox.answer())
            assert await other.picture()
            session.end("user_ended")
            await running


STRANGE_CANDIDATES = [
    "candidate:1 1 udp 2130706431 192.0.2.9 5000 typ guess",
    "candidate:1 1 udp 2130706431 192.0.2.9 70000 typ host",
    "candidate:1 7 udp 2130706431 192.0.2.9 5000 typ host",
    "candidate:1 1 tcp 2130706431 192.0.2.9 9 typ host tcptype active",
    "candidate:1 1 udp 99999999999999999999 192.0.2.9 5000 typ host",
    "candidate:1 1 udp 1 fe80::1 5000 typ host",
    "candidate:1 1 udp 1 0.0.0.0 0 typ host",
    "candidate:1 1 udp 1 255.255.255.255 5000 typ host",
    "candidate:1 1 udp 1 nobody-here.local 5000 typ host",
    "candidate:\u0000",
    "nonsense",
]


async def test_strange_candidates_cost_the_session_nothing() -> None:
    """Whatever a viewer calls a candidate, its good ones still connect it."""
    outbox = Outbox()
    async with camera() as capture, viewer() as one:
        session = new_session(capture, outbox)
        running = asyncio.ensure_future(outcome(session))
        offer = await one.offer()
        for text in STRANGE_CANDIDATES:
            session.take_candidate(IceCandidate(candidate=text))
        session.take_offer(without_candidates(offer))
        await one.accept(await outbox.answer())
        for candidate in candidates_of(offer):
            session.take_candidate(candidate)
        assert await one.picture()
        session.take_candidate(None)
        session.take_candidate(None)
        session.take_candidate(IceCandidate(candidate=STRANGE_CANDIDATES[0]))
        await until(session._candidates.empty)
        assert await one.picture()
        session.end("user_ended")

        assert isinstance(await running, SessionEnded)


async def test_too_many_candidates_are_dropped() -> None:
    """A viewer cannot fill the device's memory with candidates."""
    async with camera() as capture:
        session = new_session(capture, Outbox())
        for _ in range(1000):
            session.take_candidate(None)

        assert session._candidates.qsize() == 64


async def test_stopping_the_agent_releases_everything() -> None:
    """Cancelled in the middle of streaming, a session is over and its tasks are gone."""
    before = asyncio.all_tasks()
    outbox = Outbox()
    async with camera() as capture, viewer() as one:
        session = new_session(capture, outbox)
        task = asyncio.ensure_future(session.run())
        session.take_offer(await one.offer())
        await one.accept(await outbox.answer())
        await one.picture()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert session.state is SessionState.ENDED
        await one.connection.close()
    await until(lambda: asyncio.all_tasks() == before)


class Deaf:
    """A peer that swallows a cancellation while it adds a candidate, as aioice can."""

    def __init__(self) -> None:
        self.adds = asyncio.Event()

    async def add_candidate(self, _candidate: IceCandidate | None) -> None:
        self.adds.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def test_a_swallowed_cancellation_holds_up_no_end() -> None:
    """A session is not kept for ever by a candidate whose name was being looked up at its end."""
    async with camera() as capture:
        session = new_session(capture, Outbox())
        deaf = Deaf()
        session.take_candidate(None)
        passing = asyncio.ensure_future(session._pass_candidates(deaf))
        await deaf.adds.wait()
        passing.cancel()
        await asyncio.wait([passing], timeout=DEADLINE_S)

        assert passing.done()

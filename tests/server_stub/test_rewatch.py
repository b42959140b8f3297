"""A viewer that comes back on another connection takes its place with it, and nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from server_stub.app import running
from server_stub.relay import Relay
from server_stub.tables import watch_sessions
from tests.end_to_end.house import agent
from tests.server_stub.conftest import Relays
from tests.server_stub.peers import (
    Client,
    device,
    port_of,
    recorded,
    relay_at,
    relay_settings,
    viewer,
    watch,
)
from tests.support import DEADLINE_S, until


@pytest.fixture
async def relay(relays: Relays) -> AsyncIterator[Relay]:
    async with relays() as held:
        yield held


@pytest.fixture
async def one_place(relay: Relay) -> AsyncIterator[Relay]:
    """Hold a relay and a real agent that serves one viewer at once."""
    async with agent(port_of(relay, "device"), max_viewers=1):
        yield relay


async def test_a_session_is_ended_from_another_connection(relay: Relay) -> None:
    """The device hears of the end before the new request, and the old connection hears as well."""
    async with device(relay) as cam, viewer(relay) as old, viewer(relay) as new:
        left_behind = await watch(old, cam)
        await new.send("end_watch", {"session_id": left_behind})
        await new.send("watch_request", {"device_id": "cam"})

        ended = {"session_id": left_behind, "reason": "user_ended"}
        assert await cam.payload("watch_ended") == ended
        fresh = (await cam.payload("watch_request"))["session_id"]
        assert (await new.payload("watch_ready"))["session_id"] == fresh
        assert await old.payload("watch_ended") == ended
        assert (await recorded(relay, left_behind)).reason == "user_ended"

        await old.leave()
        await cam.nothing_came()
        assert relay.sessions.is_live(fresh)


async def test_a_new_session_ends_no_other(relay: Relay) -> None:
    """Who watches in two tabs watches in both, whichever connections they use."""
    async with device(relay) as cam, viewer(relay) as one, viewer(relay) as other:
        sessions = [await watch(one, cam), await watch(other, cam), await watch(one, cam)]
        for peer in (cam, one, other):
            await peer.nothing_came()
        assert all(relay.sessions.is_live(session_id) for session_id in sessions)


async def test_another_user_ends_nothing(relay: Relay) -> None:
    """A session's id is no key to it, not even for somebody who may watch the same device."""
    await relay.store.grant("neighbour", "cam")
    async with device(relay) as cam, viewer(relay) as user, viewer(relay, "neighbour") as other:
        session_id = await watch(user, cam)
        await other.send("end_watch", {"session_id": session_id}, request_id="e1")
        assert await other.error(request_id="e1") == "Session not found"
        await watch(other, cam)
        await user.nothing_came()
        assert relay.sessions.is_live(session_id)


async def test_an_end_that_is_not_written_down_yet_is_an_end(relay: Relay) -> None:
    """Of its own sessions a relay believes itself and not the database, which may be behind."""
    await relay.store.start_session("s", "cam", "user", instance_id=relay.instance_id)
    async with device(relay) as cam, viewer(relay) as user:
        await user.send("end_watch", {"session_id": "s"}, request_id="e")
        assert await user.error(request_id="e") == "Session not found"
        await cam.nothing_came()


async def test_a_session_that_is_too_old_is_over_at_its_device(relay: Relay) -> None:
    """A device is not told of the end of what no relay would have let go on for so long."""
    longest = timedelta(seconds=relay.sessions.longest_s)
    for age, is_told in ((longest * 0.9, True), (longest * 1.1, False)):
        session_id = str(age)
        await relay.store.start_session(session_id, "cam", "user", instance_id="0123")
        await relay.store._write(
            update(watch_sessions)
            .where(watch_sessions.c.session_id == session_id)
            .values(started_at=datetime.now(UTC) - age)
        )
        await relay.store.end_forgotten_sessions(["0123"])
        async with device(relay) as cam, viewer(relay) as user:
            await user.send("end_watch", {"session_id": session_id}, request_id="e")
            if is_told:
                ended = {"session_id": session_id, "reason": "user_ended"}
                assert await cam.payload("watch_ended") == ended
            else:
                assert await user.error(request_id="e") == "Session not found"
            for peer in (user, cam):
                await peer.nothing_came()


async def test_the_only_place_goes_to_the_new_session(one_place: Relay) -> None:
    """A device that serves one viewer serves the one who came back while the old socket hangs."""
    async with _hanging(one_place) as left_behind, viewer(one_place) as user:
        await _is_refused(user)
        await _is_served(user, instead_of=left_behind)


async def test_the_only_place_is_free_after_a_restart(tmp_path: Path) -> None:
    """A relay that was started anew passes on the end of a session that it never knew."""
    async with AsyncExitStack() as held:
        before = AsyncExitStack()
        relay = await before.enter_async_context(relay_at(tmp_path))
        await held.enter_async_context(agent(relay.port, max_viewers=1))
        async with viewer(relay) as user:
            await user.send("watch_request", {"device_id": "cam"})
            left_behind = (await user.payload("watch_ready"))["session_id"]
            await relay.drain(0)
            await before.aclose()
        settings = relay_settings(tmp_path, port=relay.port)
        again = await held.enter_async_context(running(settings))
        await until(lambda: again.devices)
        user = await held.enter_async_context(viewer(again))
        await _is_refused(user)
        await _is_served(user, instead_of=left_behind)


async def _is_served(user: Client, *, instead_of: str) -> None:
    """Show that the device's only place is free once a session has been ended by name."""
    await user.send("end_watch", {"session_id": instead_of})
    await user.send("watch_request", {"device_id": "cam"})
    fresh = (await user.payload("watch_ready"))["session_id"]
    # What is wrong with this offer is said by a session, so there is one.
    await user.send(
        "signal_offer", {"session_id": fresh, "sdp": {"type": "offer", "sdp": "v=0\r\n"}}
    )
    ended = await user.payload("watch_ended")
    assert ended["session_id"] == fresh
    assert "at most" not in ended["message"]


async def _is_refused(user: Client) -> None:
    await user.send("watch_request", {"device_id": "cam"})
    await user.payload("watch_ready")
    assert "at most 1 viewer" in (await user.payload("watch_ended"))["message"]


@asynccontextmanager
async def _hanging(relay: Relay) -> AsyncIterator[str]:
    """Hold a watched session whose viewer neither reads nor closes any more; give its id."""
    async with viewer(relay) as user:
        await user.send("watch_request", {"device_id": "cam"})
        session_id = (await user.payload("watch_ready"))["session_id"]
        user.websocket.transport.pause_reading()
        try:
            async with asyncio.timeout(DEADLINE_S):
                yield session_id
        finally:
            user.websocket.transport.resume_reading()

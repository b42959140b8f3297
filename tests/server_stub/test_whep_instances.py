"""Watching by WHEP where the device, or the player's next request, is at another instance."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server_stub.auth import make_token
from tests.server_stub.peers import (
    SECRET,
    TwoInstances,
    device,
    recorded,
    relay_at,
    two_instances,
    viewer,
)
from tests.server_stub.servers import RedisServer
from tests.server_stub.test_whep import (
    HOST,
    SECTION,
    playing,
    post,
    watching,
)
from tests.support import DEADLINE_S, until

INTERVAL_S = 0.8


@pytest.fixture
async def two(redis_url: str, tmp_path: Path) -> AsyncIterator[TwoInstances]:
    async with two_instances(tmp_path, redis_url, heartbeat_interval_s=INTERVAL_S) as held:
        yield held


async def test_a_session_goes_to_another_instance_and_back(two: TwoInstances) -> None:
    """Candidates and the end reach the device, and both halves are over."""
    async with playing(two) as player, watching(two, player) as (cam, session_id, path, etag):
        assert await player.patch(path, SECTION, if_match=etag) == 204
        assert (await cam.payload("signal_ice"))["candidate"]["candidate"] == HOST
        assert await player.status("DELETE", path) == 200
        ended = await cam.payload("watch_ended")
        assert ended == {"session_id": session_id, "reason": "user_ended"}
        assert (len(two.sessions), len(two.of_devices.sessions)) == (0, 0)
        assert (await recorded(two, session_id)).reason == "user_ended"


async def test_a_token_ends_a_session_everywhere(two: TwoInstances) -> None:
    """The device hears why, wherever it is."""
    async with playing(two) as player:
        player.token = make_token(SECRET, "user", 2)
        async with watching(two, player) as (cam, session_id, _, _):
            ended = await cam.payload("watch_ended")
            assert (ended["reason"], ended["message"]) == ("timeout", "token expired")
            assert (await recorded(two, session_id)).reason == "timeout"
            assert (len(two.sessions), len(two.of_devices.sessions)) == (0, 0)


async def test_a_device_elsewhere_says_that_its_viewer_is_gone(two: TwoInstances) -> None:
    """The player's resource is gone with it."""
    async with playing(two) as player, watching(two, player) as (cam, session_id, path, _):
        await cam.send("watch_ended", {"session_id": session_id, "reason": "viewer_disconnected"})
        assert (await recorded(two, session_id)).reason == "viewer_disconnected"
        assert await player.status("GET", path) == 404


async def test_a_right_taken_away_ends_both_halves_once(two: TwoInstances) -> None:
    """Whichever instance looks first; the device hears it once, with the reason."""
    for looks in (two.of_devices, two.of_viewers):
        await two.store.grant("user", "cam")
        async with playing(two) as player, watching(two, player) as (cam, session_id, path, _):
            await two.store.revoke("user", "cam")
            await looks.rights.check_sessions()
            ended = await cam.payload("watch_ended")
            assert (ended["reason"], ended["message"]) == ("error", "the right to watch is gone")
            assert (await recorded(two, session_id)).reason == "error"
            for relay in (two.of_devices, two.of_viewers):
                await relay.rights.check_sessions()
                assert len(relay.sessions) == 0
            await cam.nothing_came()
            assert await player.status("GET", path) == 404


async def test_a_session_may_be_ended_at_any_instance(two: TwoInstances) -> None:
    """A balancer need not know where a session is: its end is passed on, by its user only."""
    async with playing(two) as player, watching(two, player) as (cam, session_id, path, _):
        await two.store.grant("stranger", "cam")
        async with playing(two.of_devices, "stranger") as stranger:
            assert await stranger.status("DELETE", path) == 404
        async with playing(two.of_devices) as other:
            assert await other.status("DELETE", f"/whep/attic/{session_id}") == 404
            await cam.nothing_came()
            assert await other.status("DELETE", path) == 200
            assert (await cam.payload("watch_ended"))["session_id"] == session_id
            assert (await recorded(two, session_id)).reason == "user_ended"
            assert await other.status("DELETE", path) == 404
        assert await player.status("GET", path) == 404


async def test_who_waits_for_an_answer_hears_of_a_stop(tmp_path: Path) -> None:
    """It is answered at once, and may try elsewhere."""
    async with relay_at(tmp_path) as relay, device(relay) as cam, playing(relay) as player:
        asked = asyncio.create_task(post(player))
        await cam.payload("watch_request")
        await cam.payload("signal_offer")
        relay.close_connections()
        async with asyncio.timeout(DEADLINE_S):
            answer = await asked
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "5"


async def test_who_waits_for_an_answer_hears_that_the_devices_instance_stops(
    two: TwoInstances,
) -> None:
    """That instance takes the session with it, and there will be no answer."""
    async with playing(two) as player, device(two) as cam:
        asked = asyncio.create_task(post(player))
        await cam.payload("watch_request")
        await cam.payload("signal_offer")
        two.of_devices.close_connections()
        async with asyncio.timeout(DEADLINE_S):
            answer = await asked
        assert answer.status == 503
        assert len(two.sessions) == 0


async def test_an_offer_that_does_not_arrive_is_not_waited_for(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Redis went away just then: the player is told at once, and has no session."""
    async with (
        two_instances(tmp_path, redis_server.url, heartbeat_interval_s=30) as two,
        playing(two) as player,
        device(two),
    ):
        forward = two.sessions.forward

        def lose(*args: object) -> bool:
            redis_server.stop()
            return forward(*args)

        two.sessions.forward = lose
        async with asyncio.timeout(10):
            answer = await post(player)
        assert answer.status == 503
        assert "cannot be reached" in await answer.text()
        assert len(two.sessions) == 0


async def test_requests_that_come_together_do_not_pass_a_limit(
    redis_url: str, tmp_path: Path
) -> None:
    """Asking another instance takes a moment, in which a place is taken already."""
    async with (
        two_instances(tmp_path, redis_url, sessions_per_user=2) as two,
        playing(two) as player,
        device(two) as cam,
    ):
        asked = [asyncio.create_task(post(player)) for _ in range(6)]
        await until(lambda: sum(one.done() for one in asked) >= 4)
        await until(lambda: len(two.sessions) == 2)
        for session in two.sessions.live():
            two.sessions.end(session, "error")
        answers = await asyncio.gather(*asked)
        assert sorted(answer.status for answer in answers) == [429] * 4 + [503] * 2
        await until(lambda: not two.of_devices.sessions.live())
        assert two.watching.take_place("user", "cam") is None
        await cam.leave()


async def test_a_lost_half_takes_no_place_of_another(two: TwoInstances) -> None:
    """What the device's instance never counted, it does not count off either."""
    counted = two.of_devices.watching
    async with playing(two) as player, watching(two, player), viewer(two.of_devices):
        assert counted.take_place("user", "cam") is None
        (half,) = two.of_devices.sessions.live()
        two.of_devices.instances._shared.lose(half)  # type: ignore[union-attr]
        assert (len(counted._of_user), len(counted._of_device)) == (1, 1)

"""Watching by WHEP where the device, or the player's next request, is at another instance."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

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
from tests.server_stub.test_instances import third
from tests.server_stub.test_whep import (
    HOST,
    NEW_ICE,
    OLD_ICE,
    RELAYED,
    SECTION,
    playing,
    post,
    watching,
)
from tests.support import DEADLINE_S, eventually, until


@pytest.fixture
async def two(redis_url: str, tmp_path: Path) -> AsyncIterator[TwoInstances]:
    """Hold two whose beats are so rare that no busy machine has them take each other for gone."""
    async with two_instances(tmp_path, redis_url) as held:
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
        player.token = make_token(SECRET, "user", 3)
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


async def test_a_session_is_reached_from_any_instance(
    two: TwoInstances, redis_url: str, tmp_path: Path
) -> None:
    """Candidates come through, and what is wrong with a request is said as where the session is."""
    async with (
        third(two, redis_url, tmp_path) as other,
        playing(two) as player,
        watching(two, player) as (cam, session_id, path, etag),
    ):
        await two.of_viewers._records.join()
        for relay in (two.of_devices, other):
            async with playing(relay) as elsewhere:
                body = f"{OLD_ICE}{SECTION}a={RELAYED}\r\na=end-of-candidates\r\n"
                assert await elsewhere.patch(path, body, if_match=etag) == 204
                for text in (HOST, RELAYED):
                    told = await cam.payload("signal_ice")
                    assert told["candidate"] == {
                        "candidate": text,
                        "sdpMid": "0",
                        "sdpMLineIndex": 0,
                    }
                assert (await cam.payload("signal_ice"))["candidate"] is None
                assert await elsewhere.status("GET", path) == 204

                wrong = f"/whep/attic/{session_id}"
                assert await elsewhere.patch(path, SECTION, if_match='"another"') == 412
                assert await elsewhere.patch(path, SECTION, if_match=None) == 428
                assert await elsewhere.patch(path, NEW_ICE + SECTION, if_match=etag) == 422
                assert await elsewhere.patch(path, "nonsense", if_match=etag) == 400
                assert await elsewhere.patch(wrong, SECTION, if_match=etag) == 404
                for nowhere in (wrong, "/whep/cam/nonsense", f"{path}%00"):
                    assert await elsewhere.status("GET", nowhere) == 404
            async with playing(relay, "stranger") as stranger:
                assert await stranger.status("GET", path) == 404
                assert await stranger.patch(path, SECTION, if_match=etag) == 404
        await cam.nothing_came()
        async with viewer(two) as person:
            await person.send("watch_request", {"device_id": "cam"})
            no_resource = (await person.payload("watch_ready"))["session_id"]
            await two.of_viewers._records.join()
            async with playing(other) as elsewhere:
                assert await elsewhere.status("GET", f"/whep/cam/{no_resource}") == 404


async def test_a_flood_of_candidates_is_bounded_wherever_it_comes(two: TwoInstances) -> None:
    """A device hears of so many and no more, though the requests take turns."""
    many = SECTION + f"a={HOST}\r\n" * 39
    async with (
        playing(two) as player,
        playing(two.of_devices) as elsewhere,
        watching(two, player) as (cam, _, path, _),
    ):
        await two.of_viewers._records.join()
        for one in (player, elsewhere, player):
            assert await one.patch(path, many, if_match="*") == 204
        for _ in range(64):
            await cam.payload("signal_ice")
        await cam.nothing_came()


async def test_a_fresh_token_may_be_shown_to_any_instance(two: TwoInstances) -> None:
    """The session goes on as long as that is good; an older one takes nothing away."""
    async with playing(two) as player, playing(two.of_devices) as elsewhere:
        player.token = make_token(SECRET, "user", 3)
        async with watching(two, player) as (cam, session_id, path, _):
            await two.of_viewers._records.join()
            assert await elsewhere.status("GET", path) == 204
            elsewhere.token = player.token
            await elsewhere.status("GET", path)

            async def has_expired() -> bool:
                return await player.status("GET", path) == 401

            await eventually(has_expired)
            await cam.nothing_came()
            assert two.sessions.is_live(session_id)


async def test_a_session_that_cannot_be_reached_is_said_to_be_so(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """By 504 if its instance does not answer, 503 if that, Redis or the database is gone."""
    async with (
        two_instances(tmp_path, redis_server.url) as two,
        playing(two) as player,
        playing(two.of_devices) as elsewhere,
        watching(two, player) as (_, _, path, etag),
    ):
        await two.of_viewers._records.join()
        await two.store.start_session("gone", "cam", "user", instance_id="00ff")
        told = await elsewhere.problem("GET", "/whep/cam/gone")
        assert told == (503, "The session cannot be reached now: another instance has it")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("server_stub.routing._REPLY_DEADLINE_S", 0.2)
            patch.setattr(two.instances._routing, "on_envelope", lambda _: None)
            assert (await elsewhere.problem("GET", path))[0] == 504

        redis_server.stop()
        assert await elsewhere.patch(path, SECTION, if_match=etag) == 503
        assert await player.status("GET", path) == 204
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(two.of_devices.store, "left_session", _fail)
            told = await elsewhere.problem("GET", path)
            assert told == (503, "The session cannot be looked up now")


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
        assert await two.watching.take_place("user", "another") is None
        await cam.leave()


async def test_a_lost_half_takes_no_place_of_another(two: TwoInstances) -> None:
    """What the device's instance never counted, it does not count off either."""
    counted = two.of_devices.watching
    async with playing(two) as player, watching(two, player), viewer(two.of_devices):
        assert await counted.take_place("user", "another") is None
        (half,) = two.of_devices.sessions.live()
        two.of_devices.instances._shared.lose(half)  # type: ignore[union-attr]
        assert len(counted._of_user) == 1


async def _fail(*_: str, **__: float) -> None:
    raise SQLAlchemyError

"""An instance that stops leaves sessions to others: pictures go on for a while, and can be ended."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from server_stub.app import running
from server_stub.relay import Relay
from server_stub.shared import remote_end
from tests.server_stub.peers import Client, device, recorded, relay_settings, viewer, watch
from tests.server_stub.test_instances import settle
from tests.support import until


class Three:
    """Three instances of a relay, of which one is to stop."""

    def __init__(self, staying: Relay, other: Relay, leaving: Relay, held: AsyncExitStack) -> None:
        self.staying = staying
        self.other = other
        self.leaving = leaving
        self._held = held

    async def stop(self) -> None:
        """Have the one stop as it does when it is asked to."""
        await self.leaving.drain(0)
        await self._held.aclose()


@pytest.fixture
async def three(redis_url: str, tmp_path: Path) -> AsyncIterator[Three]:
    settings = relay_settings(tmp_path, redis_url=SecretStr(redis_url))
    async with (
        running(settings) as staying,
        running(settings) as other,
        AsyncExitStack() as held,
    ):
        await staying.store.add_device("cam")
        await staying.store.grant("user", "cam")
        leaving = await held.enter_async_context(running(settings))
        yield Three(staying, other, leaving, held)


async def _begin(user: Client, cam: Client) -> str:
    """Start a session whose picture is there, as far as the relay can know; give its id."""
    session_id = await watch(user, cam)
    answer = {"session_id": session_id, "sdp": {"type": "answer", "sdp": "v=0\r\n"}}
    await cam.send("signal_answer", answer)
    assert await user.payload("signal_answer") == answer
    return session_id


async def _watch_anew(user: Client, cam: Client, session_id: str) -> str:
    """End a session by name and start another, as the page does; the device hears it in this order."""
    await user.send("end_watch", {"session_id": session_id})
    await user.send("watch_request", {"device_id": "cam"})
    ended = {"session_id": session_id, "reason": "user_ended"}
    assert await cam.payload("watch_ended") == ended
    fresh = str((await cam.payload("watch_request"))["session_id"])
    assert (await user.payload("watch_ready"))["session_id"] == fresh
    return fresh


async def _goes_on(relay: Relay, session_id: str) -> None:
    """Show that a session outlasts its other instance, which is known to be gone."""
    (session,) = relay.sessions.live()
    await until(lambda: remote_end(session) is None)
    settle(relay)
    assert relay.instances is not None
    await relay.instances._beat()
    relay.instances._shared.lose(session)  # as if the beat had begun before
    assert relay.sessions.is_live(session_id)


async def test_a_right_ends_a_picture_whose_viewers_instance_left(three: Three) -> None:
    """The device hears of no stop, but of a right that is taken away afterwards."""
    async with device(three.staying) as cam:
        async with viewer(three.leaving) as user:
            session_id = await _begin(user, cam)
            await three.stop()
        await _goes_on(three.staying, session_id)
        await cam.nothing_came()
        await three.staying.store.revoke("user", "cam")
        await three.staying.rights.check_sessions()
        ended = await cam.payload("watch_ended")
        assert (ended["session_id"], ended["reason"]) == (session_id, "error")
        assert ended["message"] == "the right to watch is gone"


async def test_a_viewer_that_never_comes_back_is_missed(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its picture ends after the grace, whoever watches."""
    monkeypatch.setattr("server_stub.absences._GRACE_S", 0.2)
    async with device(three.staying) as cam:
        async with viewer(three.leaving) as user:
            session_id = await _begin(user, cam)
            await three.leaving.drain(0)
        ended = {"session_id": session_id, "reason": "viewer_disconnected"}
        assert await cam.payload("watch_ended") == ended
        assert len(three.staying.sessions) == 0
        assert (await recorded(three.staying, session_id)).reason == "error"


@pytest.mark.parametrize("where", ["staying", "other"])
async def test_a_viewer_that_comes_back_takes_its_place_with_it(three: Three, where: str) -> None:
    """Whichever instance it ends its old session at: the device hears so once, and first."""
    async with device(three.staying) as cam:
        async with viewer(three.leaving) as user:
            session_id = await _begin(user, cam)
            await three.stop()
        async with viewer(getattr(three, where)) as user:
            fresh = await _watch_anew(user, cam, session_id)
            assert [one.session_id for one in three.staying.sessions.live()] == [fresh]


@pytest.mark.parametrize("where", ["staying", "other"])
async def test_a_device_that_comes_back_hears_of_ends(three: Three, where: str) -> None:
    """Its viewer hears of no stop, and ends the session wherever the device is now."""
    async with viewer(three.staying) as user:
        async with device(three.leaving) as cam:
            session_id = await _begin(user, cam)
            await three.stop()
        await _goes_on(three.staying, session_id)
        async with device(getattr(three, where)) as cam:
            await user.nothing_came()
            await user.send(
                "signal_ice", {"session_id": session_id, "candidate": None}, request_id="i"
            )
            assert await user.error(request_id="i") == "The other end cannot be reached now"
            await _watch_anew(user, cam, session_id)
            assert (await recorded(three.staying, session_id)).reason == "user_ended"


async def test_a_picture_of_a_device_whose_instance_left_ends(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent lets it go on for the grace: then the viewer hears so, and may watch anew."""
    monkeypatch.setattr("server_stub.absences._GRACE_S", 0.2)
    async with viewer(three.staying) as user:
        async with device(three.leaving) as cam:
            session_id = await _begin(user, cam)
            await three.leaving.drain(0)
        ended = {"session_id": session_id, "reason": "device_disconnected"}
        assert await user.payload("watch_ended") == ended
        assert (await recorded(three.staying, session_id)).reason == "device_disconnected"


async def test_what_has_no_picture_yet_ends_at_once(three: Three) -> None:
    """No answer can come any more, whichever of the two instances stops."""
    async with viewer(three.leaving) as user, device(three.staying, "cam") as cam:
        session_id = await watch(user, cam)
        await three.stop()
        ended = {"session_id": session_id, "reason": "viewer_disconnected"}
        assert await cam.payload("watch_ended") == ended

"""Rights that change while devices and viewers are connected."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from server_stub import rights
from server_stub.auth import hash_device_token
from server_stub.relay import Relay
from tests.server_stub.identity_provider import identity_provider, jwk, public_pem, signed
from tests.server_stub.peers import client, device, recorded, relay_at, viewer, watch
from tests.support import running as task_running


@pytest.fixture
async def checked(relay: Relay) -> AsyncIterator[Relay]:
    """Give a relay that looks at once what has changed."""
    async with task_running(relay.rights.keep_checking(0.01)):
        yield relay


async def _refused(relay: Relay, token: str | None) -> None:
    async with client(relay, "device", token=token) as peer:
        await peer.send("hello", {"device_id": "locked"})
        assert await peer.ended() == (1008, "Unauthorized")


async def test_a_token_is_rotated_with_an_overlap(checked: Relay) -> None:
    """Both tokens are good for a while; then whoever came by the old one is closed."""
    store = checked.store
    await store.add_device("locked", token_hash=hash_device_token("old"))
    async with device(checked, "locked", token="old") as cam:
        soon = datetime.now(UTC) + timedelta(seconds=1.5)
        await store.rotate_token("locked", hash_device_token("new"), others_until=soon)
        await cam.nothing_came()
        assert await cam.ended() == (1008, "Unauthorized")
        assert datetime.now(UTC) >= soon
    await _refused(checked, "old")
    async with device(checked, "locked", token="new") as cam:
        for _ in range(3):
            await checked.rights.check_devices()
        await cam.nothing_came()


async def test_a_revoked_token_is_of_no_use_at_once(checked: Relay) -> None:
    """Its connection is closed, its sessions end, and it stays out until it is given a new one."""
    store = checked.store
    await store.add_device("locked", token_hash=hash_device_token("old"))
    await store.grant("user", "locked")
    async with device(checked, "locked", token="old") as cam, viewer(checked) as user:
        await watch(user, cam, "locked")
        await store.revoke_tokens("locked")
        assert await cam.ended() == (1008, "Unauthorized")
        assert (await user.payload("watch_ended"))["reason"] == "device_disconnected"
    await _refused(checked, "old")
    await _refused(checked, None)
    await store.rotate_token("locked", hash_device_token("new"), others_until=datetime.now(UTC))
    async with device(checked, "locked", token="new") as cam:
        await cam.nothing_came()


async def test_a_device_that_needed_no_token_may_get_one(checked: Relay) -> None:
    """From then on its name alone does not do, nor keep it here."""
    async with device(checked) as cam:
        await checked.rights.check_devices()
        await cam.nothing_came()
        later = datetime.now(UTC) + timedelta(hours=1)
        await checked.store.rotate_token("cam", hash_device_token("new"), others_until=later)
        assert await cam.ended() == (1008, "Unauthorized")


async def test_another_device_of_the_same_name_is_another(checked: Relay) -> None:
    """Removed and added again between two looks, a device needs its new token."""
    await checked.store.add_device("locked", token_hash=hash_device_token("old"))
    async with device(checked, "locked", token="old") as cam:
        await checked.store.remove_device("locked")
        await checked.store.add_device("locked", token_hash=hash_device_token("new"))
        assert (await cam.ended())[0] == 1008


async def test_a_right_taken_away_ends_its_sessions(checked: Relay) -> None:
    """Both ends hear of it, another user's session and another device's go on."""
    store = checked.store
    await store.add_device("attic")
    await store.grant("user", "attic")
    await store.grant("another", "cam")
    async with (
        device(checked) as cam,
        device(checked, "attic") as attic,
        viewer(checked) as user,
        viewer(checked, "another") as another,
    ):
        session_id = await watch(user, cam)
        await watch(another, cam)
        await watch(user, attic, "attic")
        assert await store.revoke("user", "cam")
        for peer in (user, cam):
            heard = await peer.payload("watch_ended")
            assert heard == {
                "session_id": session_id,
                "reason": "error",
                "message": "the right to watch is gone",
            }
        await checked.rights.check_sessions()
        for peer in (user, cam, another, attic):
            await peer.nothing_came()
        assert len(checked.sessions) == 2
        assert (await recorded(checked, session_id)).reason == "error"


async def test_a_removed_devices_sessions_end(checked: Relay) -> None:
    """A viewer hears it, whichever of connection and right is looked at first."""
    async with device(checked) as cam, viewer(checked) as user:
        session_id = await watch(user, cam)
        await checked.store.remove_device("cam")
        heard = await user.payload("watch_ended")
        assert heard["session_id"] == session_id
        assert heard["reason"] in {"device_disconnected", "error"}
        assert await cam.ended() == (1008, "Device not found")
        await user.nothing_came()


async def test_a_session_is_ended_from_outside(checked: Relay) -> None:
    """A command asks by way of the database; only that session ends, and for good."""
    async with device(checked) as cam, viewer(checked) as user:
        session_id, other_id = await watch(user, cam), await watch(user, cam)
        await checked._records.join()
        assert await checked.store.ask_to_end(session_id)
        for peer in (user, cam):
            heard = await peer.payload("watch_ended")
            assert (heard["session_id"], heard["reason"]) == (session_id, "user_ended")
        assert (await recorded(checked, session_id)).reason == "user_ended"
        assert not await checked.store.ask_to_end(session_id)
        assert not await checked.store.ask_to_end("nonsense")
        assert checked.sessions.is_live(other_id)


async def test_everybody_is_looked_at(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, they are looked at a few at a time, and none is left out."""
    monkeypatch.setattr(rights, "_AT_ONCE", 2)
    names = [f"cam{number}" for number in range(5)]
    for name in names:
        await relay.store.add_device(name)
    async with asyncio.TaskGroup() as tasks:

        async def stay(name: str) -> tuple[int, str]:
            async with device(relay, name) as cam:
                return await cam.ended()

        staying = [tasks.create_task(stay(name)) for name in names]
        while len(relay.devices) < len(names):
            await asyncio.sleep(0.01)
        for name in names:
            await relay.store.remove_device(name)
        await relay.rights.check_devices()
    assert {task.result() for task in staying} == {(1008, "Device not found")}


async def test_a_database_that_is_away_closes_nobody(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was let in stays while nobody can say otherwise, and is looked at again afterwards."""
    asked = asyncio.Event()

    async def fail(_device_ids: object) -> None:
        asked.set()
        raise SQLAlchemyError("away")

    async with device(relay) as cam, task_running(relay.rights.keep_checking(0.01)) as checking:
        with monkeypatch.context() as away:
            away.setattr(relay.store, "devices_named", fail)
            await asked.wait()
            await cam.nothing_came()
        assert not checking.done()
        await relay.store.remove_device("cam")
        assert await cam.ended() == (1008, "Device not found")


# Tokens that are signed elsewhere


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_viewer_comes_with_a_token_of_another_signer(
    tmp_path: Path, algorithm: str
) -> None:
    """With a public key in the settings, who has the private one says who may come."""
    changes = {"jwt_secret": None, "jwt_public_key": public_pem(algorithm)}
    async with relay_at(tmp_path, **changes) as relay, client(relay, "viewer") as user:
        await user.send("hello", {"token": signed(algorithm, exp=4_000_000_000)})
        assert (await user.payload("hello_ack"))["user_id"] == "user"
        await user.send("hello", {"token": signed(algorithm, sub="another")})
        assert await user.ended() == (1008, "Unauthorized")


async def test_keys_that_are_away_are_no_bad_token(tmp_path: Path) -> None:
    """A viewer is told to come again, not that its token is wrong; then it is let in."""
    async with identity_provider(jwk("RS256", "a")) as provider:
        url, provider.url = provider.url, ""
        changes = {"jwt_secret": None, "jwt_jwks_url": url.replace("/keys", "/nowhere")}
        token = signed("RS256", key_id="a")
        async with relay_at(tmp_path, **changes) as relay, client(relay, "viewer") as user:
            await user.send("hello", {"token": token})
            assert await user.ended() == (1011, "tokens cannot be checked now")
        changes["jwt_jwks_url"] = url
        (tmp_path / "again").mkdir()
        async with (
            relay_at(tmp_path / "again", **changes) as relay,
            client(relay, "viewer") as user,
        ):
            await user.send("hello", {"token": token})
            await user.payload("hello_ack")

"""What the database keeps."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from server_stub.database import in_batches
from server_stub.records import Grant
from server_stub.store import DeviceExists, DeviceUnknown, Store, open_store


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as held:
        yield held


async def hashes_of(store: Store, device_id: str = "cam") -> list[str]:
    """Give the hashes of the tokens that are good now, the newest first."""
    found = await store.device(device_id)
    assert found is not None
    return [token.token_hash for token in found.tokens]


def is_now(moment: datetime | None) -> bool:
    return moment is not None and abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


async def test_a_device_is_kept_as_it_was_added(store: Store) -> None:
    """Name, hash and moment come back, the moment with its time zone."""
    assert await store.device("cam") is None
    await store.add_device("cam", token_hash="h" * 64)
    found = await store.device("cam")
    assert found is not None
    assert (found.device_id, found.needs_token, found.last_seen_at) == ("cam", True, None)
    assert await hashes_of(store) == ["h" * 64]
    assert is_now(found.created_at)
    await store.seen({"cam"})
    found = await store.device("cam")
    assert found is not None
    assert is_now(found.last_seen_at)


async def test_a_name_is_taken_once(store: Store) -> None:
    """A second device of the same name is refused, and the first stays as it is."""
    await store.add_device("cam", token_hash="h" * 64)
    with pytest.raises(DeviceExists, match="cam"):
        await store.add_device("cam")
    (kept,) = await store.devices()
    assert kept.needs_token
    assert await hashes_of(store) == ["h" * 64]


async def test_a_new_token_takes_over(store: Store) -> None:
    """The others are good until then and no longer, each at most as long as it was before."""
    later, soon = (datetime.now(UTC) + timedelta(hours=hours) for hours in (2, 1))
    await store.add_device("cam", token_hash="a" * 64)
    await store.rotate_token("cam", "b" * 64, others_until=later)
    assert await hashes_of(store) == ["b" * 64, "a" * 64]
    await store.rotate_token("cam", "c" * 64, others_until=soon)
    found = await store.device("cam")
    assert found is not None
    assert [token.expires_at for token in found.tokens] == [None, soon, soon]
    await store.rotate_token("cam", "d" * 64, others_until=later)
    found = await store.device("cam")
    assert found is not None
    assert [token.expires_at for token in found.tokens] == [None, later, soon, soon]
    await store.rotate_token("cam", "e" * 64, others_until=datetime.now(UTC))
    assert await hashes_of(store) == ["e" * 64]
    assert [one.device_id for one in await store.devices()] == ["cam"]


async def test_an_expired_token_is_no_token(store: Store) -> None:
    """It is not there for whoever asks, though nobody has deleted it yet."""
    await store.add_device("cam", token_hash="a" * 64)
    moment = datetime.now(UTC) + timedelta(seconds=1.5)
    await store.rotate_token("cam", "b" * 64, others_until=moment)
    assert len(await hashes_of(store)) == 2
    while datetime.now(UTC) <= moment:
        await asyncio.sleep(0.05)
    assert await hashes_of(store) == ["b" * 64]
    assert set(await store.devices_named(["cam", "nobody"])) == {"cam"}


async def test_revoked_tokens_leave_a_locked_door(store: Store) -> None:
    """A device without any good token needs one; so does one that had none before."""
    for name, token_hash in (("cam", "a" * 64), ("free", None)):
        await store.add_device(name, token_hash=token_hash)
        await store.revoke_tokens(name)
        found = await store.device(name)
        assert found is not None
        assert (found.needs_token, found.tokens) == (True, ())


async def test_nobodys_token_cannot_be_changed(store: Store) -> None:
    """There is nothing to rotate or revoke of an unknown device, and nothing is left behind."""
    with pytest.raises(DeviceUnknown, match="nobody"):
        await store.rotate_token("nobody", "a" * 64, others_until=datetime.now(UTC))
    with pytest.raises(DeviceUnknown, match="nobody"):
        await store.revoke_tokens("nobody")
    await store.add_device("nobody", token_hash="a" * 64)
    assert await hashes_of(store, "nobody") == ["a" * 64]


async def test_devices_are_listed_by_name(store: Store) -> None:
    """The list is in order, and a user's list has only what it may watch."""
    for name in ("c", "a", "b"):
        await store.add_device(name)
    for name in ("c", "a"):
        await store.grant("user", name)
    assert [one.device_id for one in await store.devices()] == ["a", "b", "c"]
    assert [one.device_id for one in await store.devices_of("user")] == ["a", "c"]
    assert await store.devices_of("stranger") == []


async def test_grants_come_and_go(store: Store) -> None:
    """A grant is one user's for one device, once however often it is given."""
    await store.add_device("cam")
    await store.add_device("another")
    for _ in range(2):
        await store.grant("user", "cam")
    assert await store.is_granted("user", "cam")
    assert not await store.is_granted("user", "another")
    assert not await store.is_granted("another", "cam")
    assert await store.revoke("user", "cam")
    assert not await store.revoke("user", "cam")
    assert not await store.is_granted("user", "cam")
    with pytest.raises(DeviceUnknown, match="nobody"):
        await store.grant("user", "nobody")


async def test_grants_are_listed(store: Store) -> None:
    """All of them, a user's or a device's, and which of some there are."""
    await store.add_device("cam")
    await store.add_device("attic")
    for user_id, device_id in (("b", "cam"), ("a", "cam"), ("a", "attic")):
        await store.grant(user_id, device_id)
    everything = [Grant("a", "attic"), Grant("a", "cam"), Grant("b", "cam")]
    assert await store.grants() == everything
    assert await store.grants(user_id="a") == everything[:2]
    assert await store.grants(device_id="cam") == everything[1:]
    assert await store.grants(user_id="b", device_id="attic") == []
    some = {Grant("a", "cam"), Grant("b", "attic"), Grant("c", "nowhere")}
    assert await store.granted(some) == {Grant("a", "cam")}
    assert await store.granted(set()) == set()


async def test_sessions_are_asked_to_end(store: Store) -> None:
    """Only one that is live can be asked, and only those that were are found."""
    for session_id in ("s1", "s2", "s3"):
        await store.start_session(session_id, "cam", "user", instance_id="here")
    await store.end_session("s3", "timeout")
    assert await store.ask_to_end("s1")
    assert not await store.ask_to_end("s3")
    assert not await store.ask_to_end("s4")
    assert await store.asked_to_end(["s1", "s2", "s3"]) == {"s1"}


async def test_sessions_are_found_by_what_they_are(store: Store) -> None:
    """A user's, a device's, the live ones."""
    for session_id, device_id, user_id in (("s1", "a", "x"), ("s2", "b", "x"), ("s3", "a", "y")):
        await store.start_session(session_id, device_id, user_id, instance_id="here")
    await store.end_session("s1", "timeout")

    async def found(**what: Any) -> list[str]:
        return [session.session_id for session in await store.sessions(**what)]

    assert await found(device_id="a") == ["s1", "s3"]
    assert await found(user_id="x") == ["s1", "s2"]
    assert await found(is_live=True) == ["s2", "s3"]
    assert await found(user_id="x", is_live=True) == ["s2"]


async def test_a_removed_device_takes_its_grants_along(store: Store) -> None:
    """A new device of an old name is not watched by the old one's users."""
    await store.add_device("cam")
    await store.grant("user", "cam")
    await store.remove_device("cam")
    with pytest.raises(DeviceUnknown, match="cam"):
        await store.remove_device("cam")
    await store.add_device("cam")
    assert not await store.is_granted("user", "cam")


async def test_a_session_ends_once(store: Store) -> None:
    """The first end counts; one that nobody ended is an error at the next start."""
    await store.start_session("s1", "cam", "user", instance_id="a1")
    await store.start_session("s2", "cam", "user", instance_id="a1")
    first, second = await store.sessions()
    assert (first.session_id, first.device_id, first.user_id) == ("s1", "cam", "user")
    assert is_now(first.started_at)
    assert (first.ended_at, first.reason) == (None, None)
    await store.end_session("s1", "user_ended")
    await store.end_session("s1", "timeout")
    assert await store.end_forgotten_sessions() == 1
    assert await store.end_forgotten_sessions() == 0
    first, second = await store.sessions()
    assert (first.reason, second.reason) == ("user_ended", "error")
    assert is_now(first.ended_at)
    assert is_now(second.ended_at)


async def test_an_instance_that_is_gone_takes_no_other_sessions_along(store: Store) -> None:
    """Only what the instances named had open is closed, and who has any open is known."""
    assert await store.instances_in_sessions() == []
    for name in ("a1", "a1", "b2", "c3"):
        number = len(await store.sessions())
        await store.start_session(f"s{number}", "cam", "user", instance_id=name)
    await store.end_session("s3", "user_ended")
    assert sorted(await store.instances_in_sessions()) == ["a1", "b2"]
    assert await store.end_forgotten_sessions(["a1", "c3"]) == 2
    assert [one.reason for one in await store.sessions()] == ["error", "error", None, "user_ended"]
    assert await store.instances_in_sessions() == ["b2"]


async def test_what_a_relay_left_is_found_by_its_user(store: Store) -> None:
    """An open session, or one that an error closed, is its user's to end; others are over."""
    for number in range(3):
        await store.start_session(f"s{number}", "cam", "user", instance_id="a1")
    await store.end_session("s1", "error")
    await store.end_session("s2", "timeout")
    found = [await store.left_session(f"s{number}", "user", longest_s=60) for number in range(3)]
    assert [one and one.instance_id for one in found] == ["a1", "a1", None]
    assert await store.left_session("s0", "another", longest_s=60) is None
    # Of those that an error closed, only the young ones may go on at their devices.
    young = [await store.left_session(f"s{number}", "user", longest_s=0) for number in range(2)]
    assert [one and one.session_id for one in young] == ["s0", None]


async def test_names_are_values(store: Store) -> None:
    """SQL in a name is a name."""
    name = "'; DROP TABLE devices; --"
    await store.add_device(name)
    await store.grant(name, name)
    assert await store.is_granted(name, name)
    assert not await store.is_granted("%", name)


async def test_a_name_may_have_any_character(store: Store) -> None:
    """What a database cannot keep, nobody has: it is looked for in vain, and that is no error."""
    for name in ("a\0b", "\u00fc\u20ac", "%", ""):
        assert await store.device(name) is None
        assert not await store.is_granted(name, name)


async def test_two_programs_share_one_database(database_url: str, store: Store) -> None:
    """What a command writes while the relay runs is there for the relay at once."""
    async with open_store(database_url) as command:
        await command.add_device("cam")
        await command.grant("user", "cam")
        assert await store.is_granted("user", "cam")
        await store.seen({"cam"})
        await command.remove_device("cam")
    assert await store.device("cam") is None


async def test_a_database_that_cannot_be_opened_is_an_sql_error(tmp_path: Path) -> None:
    """Whatever the driver says, there is one kind of error to catch."""
    with pytest.raises(SQLAlchemyError):
        async with open_store(f"sqlite+aiosqlite:///{tmp_path / 'no' / 'relay.db'}"):
            pass


async def test_a_url_may_say_how_to_encrypt_as_libpq_does(postgres_url: str) -> None:
    """Whoever rents out a PostgreSQL writes `sslmode`; what nobody knows is an SQL error."""
    async with open_store(f"{postgres_url}&sslmode=disable") as store:
        assert await store.devices() == []
    for option in ("sslmode=nonsense", "nonsense=1"):
        with pytest.raises(SQLAlchemyError):
            async with open_store(f"{postgres_url}&{option}"):
                pass


@pytest.mark.parametrize("number", [0, 1, 2, 3, 100, 256, 257, 600])
def test_batches_are_of_few_lengths(number: int) -> None:
    """Every value is in one of them, nothing else is, and each has a power of two of them."""
    batches = list(in_batches([f"cam-{one}" for one in range(number)]))

    assert [one for batch in batches for one in dict.fromkeys(batch)] == [
        f"cam-{one}" for one in range(number)
    ]
    assert {len(batch) for batch in batches} <= {2**exponent for exponent in range(9)}


async def test_a_fleet_is_looked_up_and_noted_whole(store: Store) -> None:
    """More devices than one question holds are found all, and all noted as seen."""
    names = {f"cam-{number}" for number in range(300)}
    for name in names:
        await store.add_device(name)

    await store.seen(names)

    found = await store.devices_named([*names, "nobody"])
    assert set(found) == names
    assert all(is_now(device.last_seen_at) for device in found.values())

"""What the database keeps."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from server_stub.store import DeviceExists, DeviceUnknown, Store, open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with open_store(url) as held:
        yield held


def is_now(moment: datetime | None) -> bool:
    return moment is not None and abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


async def test_a_device_is_kept_as_it_was_added(store: Store) -> None:
    """Name, hash and moment come back, the moment with its time zone."""
    assert await store.device("cam") is None
    await store.add_device("cam", token_hash="h" * 64)
    found = await store.device("cam")
    assert found is not None
    assert (found.device_id, found.token_hash, found.last_seen_at) == ("cam", "h" * 64, None)
    assert is_now(found.created_at)
    await store.seen("cam")
    found = await store.device("cam")
    assert found is not None
    assert is_now(found.last_seen_at)


async def test_a_name_is_taken_once(store: Store) -> None:
    """A second device of the same name is refused, and the first stays as it is."""
    await store.add_device("cam", token_hash="h" * 64)
    with pytest.raises(DeviceExists, match="cam"):
        await store.add_device("cam")
    (kept,) = await store.devices()
    assert kept.token_hash == "h" * 64


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
    found = [await store.left_session(f"s{number}", "user") for number in range(3)]
    assert [one and one.instance_id for one in found] == ["a1", "a1", None]
    assert await store.left_session("s0", "another") is None


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


async def test_two_programs_share_one_database(url: str, store: Store) -> None:
    """What a command writes while the relay runs is there for the relay at once."""
    async with open_store(url) as command:
        await command.add_device("cam")
        await command.grant("user", "cam")
        assert await store.is_granted("user", "cam")
        await store.seen("cam")
        await command.remove_device("cam")
    assert await store.device("cam") is None


async def test_a_database_that_cannot_be_opened_is_an_sql_error(tmp_path: Path) -> None:
    """Whatever the driver says, there is one kind of error to catch."""
    with pytest.raises(SQLAlchemyError):
        async with open_store(f"sqlite+aiosqlite:///{tmp_path / 'no' / 'relay.db'}"):
            pass

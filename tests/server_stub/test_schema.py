"""Databases of other releases, and the steps from there to here."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

import server_stub.schema
from server_stub.schema import NEWEST, SchemaUnknown
from server_stub.store import open_store
from server_stub.tables import metadata

# As the release before versions made it.
_UNVERSIONED = """
CREATE TABLE devices (device_id VARCHAR(128) NOT NULL, token_hash VARCHAR(64),
    created_at {moment} NOT NULL, last_seen_at {moment}, PRIMARY KEY (device_id));
CREATE TABLE grants (user_id VARCHAR(128) NOT NULL, device_id VARCHAR(128) NOT NULL,
    PRIMARY KEY (user_id, device_id),
    FOREIGN KEY(device_id) REFERENCES devices (device_id) ON DELETE CASCADE);
CREATE INDEX ix_grants_device_id ON grants (device_id);
CREATE TABLE watch_sessions (session_id VARCHAR(128) NOT NULL, device_id VARCHAR(128) NOT NULL,
    user_id VARCHAR(128) NOT NULL, started_at {moment} NOT NULL, ended_at {moment},
    reason VARCHAR(32), PRIMARY KEY (session_id));
CREATE INDEX ix_watch_sessions_device_id ON watch_sessions (device_id);
INSERT INTO devices VALUES ('locked', '{token_hash}', '2025-01-02 03:04:05.000000', NULL);
INSERT INTO devices VALUES ('open', NULL, '2025-01-02 03:04:05.000000', NULL);
INSERT INTO grants VALUES ('user', 'open');
INSERT INTO watch_sessions VALUES ('s1', 'open', 'user', '2025-01-02 03:04:05.000000', NULL, NULL)
"""


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://")


async def _run(url: str, *statements: str) -> None:
    engine = create_async_engine(_with_driver(url))
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


async def _inspect(url: str, look: Any) -> Any:
    engine = create_async_engine(_with_driver(url))
    async with engine.connect() as connection:
        found = await connection.run_sync(look)
    await engine.dispose()
    return found


def _differences(connection: Connection) -> Any:
    return compare_metadata(MigrationContext.configure(connection), metadata)


def test_the_newest_step_is_the_last() -> None:
    """A step that is added and not named would never run."""
    directory = ScriptDirectory(str(Path(server_stub.schema.__file__).parent))
    assert directory.get_current_head() == NEWEST
    versions = [step.revision for step in directory.walk_revisions()]
    assert versions == sorted(versions, reverse=True)


async def test_the_steps_lead_to_the_tables(database_url: str) -> None:
    """What the steps make is what the queries are written for; a second start changes nothing."""
    for _ in range(2):
        async with open_store(database_url) as store:
            assert await store.devices() == []
        assert await _inspect(database_url, _differences) == []


async def test_open_sessions_are_found_among_many_that_ended(tmp_path: Path) -> None:
    """Each instance asks for its open ones time and again, and nobody clears the old ones away."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}"
    async with open_store(url) as store:
        await store.start_session("s1", "cam", "user", instance_id="a1")
    for query in (
        "SELECT DISTINCT instance_id FROM watch_sessions WHERE ended_at IS NULL",
        "UPDATE watch_sessions SET reason = 'error' WHERE ended_at IS NULL",
    ):
        plan = text(f"EXPLAIN QUERY PLAN {query}")
        (row,) = await _inspect(url, lambda connection, plan=plan: connection.execute(plan).all())
        assert "ix_watch_sessions_open" in row.detail


async def test_a_database_without_a_version_is_adopted(database_url: str) -> None:
    """Devices keep their tokens, or their lack of one, and grants and sessions stay."""
    is_sqlite = database_url.startswith("sqlite")
    moment = "DATETIME" if is_sqlite else "TIMESTAMP WITH TIME ZONE"
    before = _UNVERSIONED.format(moment=moment, token_hash="h" * 64)
    await _run(database_url, *before.split(";"))

    async with open_store(database_url) as store:
        locked, free = await store.devices()
        assert (locked.device_id, locked.needs_token) == ("locked", True)
        assert [token.token_hash for token in locked.tokens] == ["h" * 64]
        assert (free.device_id, free.needs_token, free.tokens) == ("open", False, ())
        assert locked.created_at.tzinfo is not None
        assert await store.is_granted("user", "open")
        assert [session.session_id for session in await store.sessions()] == ["s1"]
    assert await _inspect(database_url, _differences) == []


async def test_a_database_of_a_newer_release_is_left_alone(database_url: str) -> None:
    """Going back to an older release is said to be impossible, in one sentence."""
    async with open_store(database_url) as store:
        await store.add_device("cam")
    await _run(database_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaUnknown, match=f"version 9999, and this release knows {NEWEST}"):
        async with open_store(database_url):
            pass
    await _run(database_url, f"UPDATE alembic_version SET version_num = '{NEWEST}'")  # noqa: S608 - ours
    async with open_store(database_url) as store:
        assert [one.device_id for one in await store.devices()] == ["cam"]


async def test_a_step_that_fails_leaves_nothing_behind(database_url: str) -> None:
    """All steps are one transaction: after a failure the database is as it was."""
    await _run(database_url, "CREATE TABLE watch_sessions (something INTEGER)")
    with pytest.raises(Exception, match="watch_sessions"):
        async with open_store(database_url):
            pass
    await _run(database_url, "DROP TABLE watch_sessions")
    async with open_store(database_url) as store:
        await store.add_device("cam")


_START = """
import asyncio, sys
from server_stub.store import open_store
async def start():
    async with open_store(sys.argv[1]) as store:
        await store.add_device(sys.argv[2])
print('ready', flush=True)
sys.stdin.readline()
asyncio.run(start())
"""


async def test_several_start_at_once(database_url: str) -> None:
    """Of many processes that find an empty database one makes the tables, and all go on."""
    started_at = datetime.now(UTC)
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _START, database_url, f"cam{number}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    ended = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    assert [errors for _, errors in ended] == [b""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    async with open_store(database_url) as store:
        devices = await store.devices()
        assert [one.device_id for one in devices] == [f"cam{number}" for number in range(4)]
        assert all(one.created_at > started_at for one in devices)

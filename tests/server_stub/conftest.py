"""Relays of the kinds that have to behave the same, and databases of both kinds."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from server_stub.relay import Relay
from tests.server_stub.peers import relay_at, two_instances
from tests.server_stub.servers import PostgresServer, RedisServer

Program = Callable[[str, str], str]
Relays = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with relay_at(tmp_path) as held:
        yield held


@pytest.fixture
def redis_server(program: Program, tmp_path: Path) -> Iterator[RedisServer]:
    """Hold a Redis that the test may stop."""
    server = RedisServer(program("redis-server", "redis-server"), tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def lasting_redis(
    program: Program, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    server = RedisServer(program("redis-server", "redis-server"), tmp_path_factory.mktemp("redis"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def lasting_postgres(program: Program) -> Iterator[PostgresServer]:
    initdb, postgres = (_postgresql(name, program) for name in ("initdb", "postgres"))
    # Not among pytest's folders: each pytest that starts beside us closes those to other users.
    with TemporaryDirectory(prefix="camagent-postgres-") as folder:
        server = PostgresServer(Path(folder), initdb=initdb, postgres=postgres)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
async def redis_url(lasting_redis: RedisServer) -> str:
    """Give the address of an empty Redis that stays."""
    await lasting_redis.empty()
    return lasting_redis.url


@pytest.fixture(params=["one process", "two instances"])
def relays(request: pytest.FixtureRequest, tmp_path: Path) -> Relays:
    """Give what holds a relay, of each kind: devices and viewers cannot tell which it is."""
    if request.param == "one process":
        return lambda **changes: relay_at(tmp_path, **changes)
    url = request.getfixturevalue("redis_url")
    return lambda **changes: two_instances(tmp_path, url, **changes)


def _postgresql(name: str, program: Program) -> str:
    """Find one of PostgreSQL's programs, which Debian keeps off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else program(name, "postgresql")


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database of each kind."""
    if request.param == "SQLite":
        return f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}"
    server: PostgresServer = request.getfixturevalue("lasting_postgres")
    return server.empty_database(f"relay_{uuid.uuid4().hex}")


@pytest.fixture
def postgres_url(lasting_postgres: PostgresServer) -> str:
    """Give the URL of an empty database in PostgreSQL."""
    return lasting_postgres.empty_database(f"relay_{uuid.uuid4().hex}")

"""Relays for the tests: one with its usual settings, or the kinds that have to behave the same."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

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


@pytest.fixture(scope="session")
def postgres(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Hold a PostgreSQL and give its URL, or skip."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb, server = (
        str(found[-1] / name) if found else program(name, "postgresql")
        for name in ("initdb", "postgres")
    )
    held = PostgresServer(tmp_path_factory.mktemp("postgres"), initdb=initdb, postgres=server)
    held.create()
    held.start()
    try:
        yield held.url
    finally:
        held.stop()


@pytest.fixture
async def postgres_url(postgres: str) -> str:
    """Give the address of an empty PostgreSQL."""
    engine = create_async_engine(postgres.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
    return postgres

"""A relay with its usual settings, and databases of both kinds."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from server_stub.relay import Relay
from tests.server_stub.peers import relay_at
from tests.server_stub.servers import PostgresServer


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with relay_at(tmp_path) as held:
        yield held


@pytest.fixture(scope="session")
def lasting_postgres(
    program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresServer]:
    initdb, postgres = (_postgresql(name, program) for name in ("initdb", "postgres"))
    server = PostgresServer(tmp_path_factory.mktemp("postgres"), initdb=initdb, postgres=postgres)
    server.create()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _postgresql(name: str, program: Callable[[str, str], str]) -> str:
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

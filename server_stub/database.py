"""Opens the database: SQLite or PostgreSQL, its tables those of this release."""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import event, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from server_stub.schema import bring_up_to_date

T = TypeVar("T")

_MOST_IN_BATCH = 256
# Longer than writers of SQLite wait for each other, shorter than a client may take for its hello.
_ANSWER_DEADLINE_S = 6.0


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[AsyncEngine]:
    """Hold the database at `url`. PostgreSQL's needs no driver in its name.

    Raises:
        SQLAlchemyError: it cannot be used, or is of a newer release.
    """
    address = make_url(url)
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+asyncpg")
    if "sslmode" in address.query and "asyncpg" in address.drivername:
        # What libpq calls it, and so whoever rents out a PostgreSQL.
        mode = {"ssl": address.query["sslmode"]}
        address = address.difference_update_query(["sslmode"]).update_query_dict(mode)
    # A connection may have died since it was used: PostgreSQL was restarted, say.
    engine = create_async_engine(address, pool_pre_ping=address.get_backend_name() != "sqlite")
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    try:
        await _open(engine)
        yield engine
    except SQLAlchemyError:
        await asyncio.to_thread(_outlive_aiosqlite)
        raise
    finally:
        await engine.dispose()


async def _open(engine: AsyncEngine) -> None:
    try:
        with one_kind_of_error():
            async with engine.connect() as connection:
                await connection.run_sync(bring_up_to_date)
    except TypeError as error:
        # All options in the URL are arguments to the driver.
        raise ArgumentError("it has an unknown option") from error


@contextmanager
def one_kind_of_error() -> Iterator[None]:
    """Make a database that cannot be reached an SQLAlchemy error, which asyncpg's is not."""
    try:
        yield
    except OSError as error:
        raise OperationalError(None, None, error) from error


@asynccontextmanager
async def _answered_soon() -> AsyncIterator[None]:
    """Give up a database that does not answer, as one does whose machine is gone from the network.

    The kernel would go on asking for a quarter of an hour, and longer than the database is away.
    """
    with one_kind_of_error():
        # TimeoutError is an OSError.
        async with asyncio.timeout(_ANSWER_DEADLINE_S):
            yield


def _outlive_aiosqlite() -> None:
    """Wait for the thread of a connection that failed: it complains if the loop is gone first."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            thread.join(timeout=1)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Let commands write while the server runs, and heed foreign keys."""
    cursor = connection.cursor()
    for pragma in (
        "busy_timeout=5000",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        # Kibibytes, for each connection of the pool: the kernel keeps the file's pages as well.
        "cache_size=-512",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def in_batches(values: Collection[T]) -> Iterator[list[T]]:
    """Split what a query compares a column with; each batch has as many as a power of two.

    Drivers keep a hundred statements and more, and one of another length is another: of every
    length that a fleet's return happens to have they would take a megabyte for each ten. The last
    value stands there again and again, which changes no answer.
    """
    listed = list(values)
    for start in range(0, len(listed), _MOST_IN_BATCH):
        batch = listed[start : start + _MOST_IN_BATCH]
        length = 1 << (len(batch) - 1).bit_length()
        yield batch + batch[-1:] * (length - len(batch))


class Database:
    """Asks an open database. Every method of what is built on it may raise `SQLAlchemyError`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def _read(self, query: Any) -> list[Any]:
        async with _answered_soon(), self._engine.connect() as connection:
            return list((await connection.execute(query)).all())

    async def _write(self, *queries: Any) -> int:
        """Do it all or nothing; give how many rows the first query concerned."""
        async with _answered_soon(), self._engine.begin() as connection:
            counts = [(await connection.execute(query)).rowcount for query in queries]
        return int(counts[0])

"""Brings a database to this release's tables: Alembic's steps, each in one transaction, run at start.

A new step is a file in `versions`, numbered in order, and a new `NEWEST`. It has to work on SQLite
and on PostgreSQL.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

NEWEST = "0003"

_LOCK = int.from_bytes(b"camagent", "big")


class SchemaUnknown(SQLAlchemyError):
    """The database is of a newer release."""


def bring_up_to_date(connection: Connection) -> None:
    """Make the tables, or change them, where that is needed; several processes may try at once.

    Raises:
        SchemaUnknown: a newer release made them.
    """
    if _version(connection) == NEWEST:
        return
    # Whoever waits here finds it done.
    if connection.dialect.name == "sqlite":
        connection.rollback()
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    version = _version(connection)
    if version is not None and version > NEWEST:
        raise SchemaUnknown(
            f"its tables are of version {version}, and this release knows {NEWEST} at most"
        )
    if version != NEWEST:
        _upgrade(connection)
    connection.commit()


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if version is None else str(version)


def _upgrade(connection: Connection) -> None:
    # Only here: it takes memory and time, which a start without an upgrade need not have.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, NEWEST)

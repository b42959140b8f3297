"""What the relay writes down survives an absence of its database, and holds nothing up."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError, OperationalError
from structlog.testing import capture_logs

from server_stub.relay import Relay
from server_stub.scribe import Scribe
from server_stub.store import Store, open_store
from server_stub.tables import grants
from tests.server_stub.peers import device, recorded, relay_at, viewer, watch
from tests.server_stub.servers import PostgresServer
from tests.support import DEADLINE_S, running, until


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as held:
        yield held


@asynccontextmanager
async def writing() -> AsyncIterator[Scribe]:
    scribe = Scribe()
    async with running(scribe.work()), asyncio.timeout(DEADLINE_S):
        yield scribe


async def test_what_happens_while_the_database_is_away_is_written_down(
    lasting_postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    """With the moment at which it happened, in its order, and with one line each way."""
    with capture_logs() as logs:
        async with (
            relay_at(tmp_path, database_url=SecretStr(postgres_url)) as relay,
            device(relay) as cam,
            viewer(relay) as user,
        ):
            ended_id = await watch(user, cam)
            await relay._records.join()
            lasting_postgres.stop()
            try:
                await user.send("end_watch", {"session_id": ended_id})
                await cam.payload("watch_ended")
                moment = datetime(2025, 1, 2, tzinfo=UTC)
                start = partial(relay.store.start_session, "begun", "cam", "user", at=moment)
                relay.record(partial(start, instance_id="0123"))
                await until(lambda: any(_is_delay(line) for line in logs))
            finally:
                back_at = datetime.now(UTC)
                lasting_postgres.start()
            record = await recorded(relay, ended_id)
            assert record.reason == "user_ended"
            assert record.ended_at is not None
            assert record.ended_at < back_at
            await relay._records.join()
            (begun,) = await relay.store.sessions(is_live=True)
            assert (begun.session_id, begun.started_at) == ("begun", moment)
    told = [(one["log_level"], one["event"]) for one in logs if "record" in one["event"]]
    assert [line for line in told if line[0] != "debug"] == [
        ("warning", "relay.records_delayed"),
        ("info", "relay.records_resumed"),
    ]


async def test_a_device_is_seen_with_the_second_try(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whom the first try was about, the second is about as well."""
    monkeypatch.setattr("server_stub.scribe._PAUSE_S", 0.01)
    seen, failures = relay.store.seen, [OperationalError(None, None, OSError("as told"))]

    async def fail_once(device_ids: Collection[str]) -> None:
        if failures:
            raise failures.pop()
        await seen(device_ids)

    monkeypatch.setattr(relay.store, "seen", fail_once)
    async with device(relay):
        await relay._records.join()
        assert not failures
        known = await relay.store.device("cam")
        assert known is not None
        assert known.last_seen_at is not None


async def test_a_start_may_be_written_down_twice(store: Store) -> None:
    """The first time may have done it, and only its confirmation got lost."""
    for instance_id in ("0123", "4567"):
        await store.start_session("s", "cam", "user", instance_id=instance_id)
    (record,) = await store.sessions()
    assert record.instance_id == "0123"


async def test_what_the_database_refuses_holds_up_nothing(store: Store) -> None:
    """It is lost, whatever is wrong with it, and what waits behind it is written down."""
    nobodys = insert(grants).values(user_id="user", device_id="nobody")
    with pytest.raises(IntegrityError):
        await store._write(nobodys)

    async def breaks() -> None:
        raise RuntimeError("as told")

    with capture_logs() as logs:
        async with writing() as scribe:
            assert scribe.take(partial(store._write, nobodys))
            assert scribe.take(breaks)
            assert scribe.take(partial(store.add_device, "cam"))
            await scribe.join()
    assert await store.device("cam") is not None
    problems = [line["problem"] for line in logs if line["event"] == "relay.record_lost"]
    assert problems == ["IntegrityError", "RuntimeError"]


async def test_a_stop_waits_for_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is tried once more and then lost, however long the pause was to be."""
    monkeypatch.setattr("server_stub.scribe._PAUSE_S", 10 * DEADLINE_S)
    tries: list[int] = []

    async def fail(number: int) -> None:
        tries.append(number)
        raise OperationalError(None, None, ConnectionRefusedError("as told"))

    async with writing() as scribe:
        for number in range(3):
            assert scribe.take(partial(fail, number))
        await until(lambda: tries)
        await scribe.finish()
    assert tries == [0, 0, 1, 2]


async def test_no_more_waits_than_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after that is dropped, and said to be."""
    monkeypatch.setattr("server_stub.scribe._MOST_WAITING", 2)
    scribe = Scribe()

    async def nothing() -> None:
        pass

    with capture_logs() as logs:
        assert [scribe.take(nothing) for _ in range(3)] == [True, True, False]
    assert [line["event"] for line in logs] == ["relay.record_dropped"]


def _is_delay(line: object) -> bool:
    return isinstance(line, dict) and line["event"] == "relay.records_delayed"

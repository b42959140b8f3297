"""Work beside a block ends with it."""

import asyncio
import contextlib

import pytest

from server_stub import tasks
from server_stub.tasks import beside
from tests.support import DEADLINE_S


async def test_work_ends_with_its_block() -> None:
    """All of it, also when the block fails, and with what the block raises."""
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def fail() -> None:
        async with beside(work("one"), work("other")):
            await asyncio.sleep(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert sorted(ended) == ["one", "other"]


async def test_a_swallowed_cancellation_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library may swallow one, and the work go on: nobody waits for that for ever."""
    monkeypatch.setattr(tasks, "_UNHEARD_AFTER_S", 0.01)
    heard = asyncio.Event()

    async def work() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        heard.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(DEADLINE_S):
        async with beside(work()):
            await asyncio.sleep(0)
    assert heard.is_set()

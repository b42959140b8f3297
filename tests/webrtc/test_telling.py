"""What a viewer is told of its rung, and how seldom."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from camagent.signaling.messages import SessionReport
from camagent.webrtc.sending import Tally
from camagent.webrtc.telling import tell_rung
from tests.support import running, until

INTERVAL_S = 0.05


class Told:
    """The reports of one session, and its tally to change."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.reports: list[SessionReport.Payload] = []

    def take(self, report: SessionReport) -> None:
        self.reports.append(report.payload)


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    """Hold a session that is reported on."""
    one = Told()
    async with running(tell_rung("s", one.tally, one.take, least_interval_s=INTERVAL_S)):
        yield one


async def test_what_changes_is_told(told: Told) -> None:
    """Rung, reason and rate, once they are known."""
    await asyncio.sleep(2 * INTERVAL_S)
    assert told.reports == []

    told.tally.rate_bps, told.tally.rate_why = 800_000, "start"
    await until(lambda: len(told.reports) == 1)
    told.tally.rung, told.tally.rate_bps, told.tally.rate_why = "low", 200_000, "12% loss"
    await until(lambda: len(told.reports) == 2)

    assert told.reports[0] == SessionReport.Payload(
        session_id="s", rung="main", reason="start", bitrate_bps=800_000
    )
    assert told.reports[1] == SessionReport.Payload(
        session_id="s", rung="low", reason="12% loss", bitrate_bps=200_000
    )


async def test_little_changes_are_no_news(told: Told) -> None:
    """The rate moves all the time; a tenth of it is worth a word."""
    told.tally.rate_bps = 800_000
    await until(lambda: len(told.reports) == 1)
    told.tally.rate_bps = 870_000
    await asyncio.sleep(4 * INTERVAL_S)
    assert len(told.reports) == 1
    told.tally.rate_bps = 900_000
    await until(lambda: len(told.reports) == 2)


async def test_restless_rates_are_told_now_and_then(told: Told) -> None:
    """However often they change."""
    changes = 0

    async def change() -> None:
        nonlocal changes
        while True:
            changes += 1
            told.tally.rate_bps, told.tally.rate_why = 1_000_000 * changes, f"{changes} ms of queue"
            await asyncio.sleep(INTERVAL_S / 50)

    async with running(change()):
        await until(lambda: len(told.reports) == 3)
    assert changes > 2 * len(told.reports)

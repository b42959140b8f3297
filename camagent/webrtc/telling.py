"""Tells a viewer what only the device knows: which rung it gets, with how much, and why."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

from camagent.signaling.messages import SessionReport
from camagent.webrtc.sending import Tally

_LOOK_INTERVAL_S = 0.5
_LEAST_INTERVAL_S = 3.0
_WORTH_TELLING = 0.1


async def tell_rung(
    session_id: str,
    tally: Tally,
    send: Callable[[SessionReport], None],
    *,
    least_interval_s: float = _LEAST_INTERVAL_S,
) -> NoReturn:
    """Send a report whenever there is news, but none sooner than `least_interval_s` after the last."""
    told: SessionReport.Payload | None = None
    while True:
        if tally.rate_bps and _is_news(tally, told):
            told = SessionReport.Payload(
                session_id=session_id,
                rung=tally.rung,
                reason=tally.rate_why,
                bitrate_bps=tally.rate_bps,
            )
            send(SessionReport(payload=told))
            await asyncio.sleep(least_interval_s)
        else:
            await asyncio.sleep(min(_LOOK_INTERVAL_S, least_interval_s))


def _is_news(tally: Tally, told: SessionReport.Payload | None) -> bool:
    """Tell a change from what the rate does all the time."""
    if told is None or (tally.rung, tally.rate_why) != (told.rung, told.reason):
        return True
    return abs(tally.rate_bps - told.bitrate_bps) > _WORTH_TELLING * told.bitrate_bps

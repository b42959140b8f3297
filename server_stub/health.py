"""How the relay is: /healthz for whoever restarts it, /readyz for a balancer, /metrics for Prometheus."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from camagent.errors import SettingsError
from server_stub.headers import add_security
from server_stub.relay import RELAY, Relay

_NOT_KEPT = {"Cache-Control": "no-store"}
_ANSWER_DEADLINE_S = 2.0
_GOOD_FOR_S = 1.0


async def show_health(_request: web.Request) -> web.Response:
    """Say that the process lives: its event loop answers."""
    return web.Response(text="ok\n", headers=_NOT_KEPT)


class Readiness:
    """Whether new clients should come to this relay. The database is asked once a second at most."""

    def __init__(self) -> None:
        self._asking = asyncio.Lock()
        self._asked_at_s = -_GOOD_FOR_S
        self._database_problem: str | None = None

    async def show(self, request: web.Request) -> web.Response:
        """Answer 200, or 503 with the reasons, as JSON."""
        relay = request.app[RELAY]
        reasons = [relay.unready_because, await self._ask_database(relay)]
        told = [reason for reason in reasons if reason is not None]
        degraded = ["Redis does not answer"] if relay.presence.is_away else []
        return web.json_response(
            {"ready": not told, "reasons": told, "degraded": degraded},
            status=503 if told else 200,
            headers=_NOT_KEPT,
        )

    async def _ask_database(self, relay: Relay) -> str | None:
        async with self._asking:
            if time.monotonic() - self._asked_at_s >= _GOOD_FOR_S:
                self._database_problem = await _problem_of_database(relay)
                self._asked_at_s = time.monotonic()
        return self._database_problem


async def _problem_of_database(relay: Relay) -> str | None:
    try:
        async with asyncio.timeout(_ANSWER_DEADLINE_S):
            await relay.store.answer()
    except (SQLAlchemyError, TimeoutError) as error:
        return f"the database does not answer: {type(error).__name__}"
    return None


@asynccontextmanager
async def metrics_served(relay: Relay, host: str, port: int | None) -> AsyncIterator[None]:
    """Answer Prometheus while the block runs, away from the port that everybody reaches.

    Raises:
        SettingsError: nobody can listen there.
    """
    if port is None:
        yield
        return

    async def show(_request: web.Request) -> web.Response:
        body = generate_latest(relay.meters.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST} | _NOT_KEPT)

    application = web.Application()
    application.on_response_prepare.append(add_security)
    application.router.add_get("/metrics", show)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            cause = os.strerror(error.errno) if error.errno else str(error)
            problem = f"CAMAGENT_RELAY_METRICS_PORT={port}: cannot listen on {host}: {cause}"
            raise SettingsError([f"{problem}; free it, or choose another"]) from error
        relay.metrics_port = runner.addresses[0][1]
        yield
    finally:
        await runner.cleanup()

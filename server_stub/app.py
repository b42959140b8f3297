"""The relay's web application: its routes, how it starts, and how it stops."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from camagent.notify import Notifier
from camagent.signaling.messages import LARGEST_MESSAGE_BYTES
from server_stub.api import list_devices, list_ice_servers
from server_stub.device import serve_device
from server_stub.headers import add_headers
from server_stub.pages import add_page_routes
from server_stub.relay import RELAY, Relay, open_relay
from server_stub.settings import RelaySettings
from server_stub.viewer import serve_viewer
from server_stub.whep import add_whep_routes

log = structlog.get_logger(__name__)

_BACKLOG = 4096
_USER_TIMEOUT_MS = 30_000
_SHUTDOWN_DEADLINE_S = 5.0
_STATUS_INTERVAL_S = 5.0


def make_application(relay: Relay) -> web.Application:
    """Lay out the routes."""
    application = web.Application(client_max_size=LARGEST_MESSAGE_BYTES)
    application[RELAY] = relay
    application.on_response_prepare.append(add_headers)
    application.on_shutdown.append(_say_goodbye)
    application.router.add_get("/ws/device", serve_device)
    application.router.add_get("/ws/viewer", serve_viewer)
    application.router.add_get("/api/devices", list_devices)
    application.router.add_get("/api/ice-servers", list_ice_servers)
    application.router.add_get("/healthz", _healthy)
    add_whep_routes(application.router)
    add_page_routes(application.router)
    return application


@asynccontextmanager
async def running(settings: RelaySettings) -> AsyncIterator[Relay]:
    """Serve while the block runs; `relay.port` says where."""
    async with open_relay(settings) as relay:
        runner = web.AppRunner(
            make_application(relay), access_log=None, shutdown_timeout=_SHUTDOWN_DEADLINE_S
        )
        await runner.setup()
        try:
            listening = _listen(settings.host, settings.port)
            await web.SockSite(runner, listening, backlog=_BACKLOG).start()
            relay.port = listening.getsockname()[1]
            yield relay
        finally:
            await runner.cleanup()


async def serve_until_asked(settings: RelaySettings) -> None:
    """Serve until SIGTERM or SIGINT; tell systemd, where it started us, how it goes."""
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    notifier = Notifier()
    async with running(settings) as relay:
        log.info("relay.listening", url=_url(settings.host, relay.port))
        notifier.ready()
        while not asked.is_set():
            notifier.status(f"{len(relay.devices)} devices · {len(relay.sessions)} sessions")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STATUS_INTERVAL_S):
                    await asked.wait()
        notifier.stopping()
        log.info("relay.stopping", sessions=len(relay.sessions), devices=len(relay.devices))


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by every connection: the kernel gives up a peer that acknowledges nothing,
        # which neither pings nor a polite close do.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    listening.settimeout(0)
    return listening


async def _say_goodbye(application: web.Application) -> None:
    application[RELAY].close_connections()


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")

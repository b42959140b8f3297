"""The relay's web application: its routes, how it starts, and how it stops."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import structlog
from aiohttp import web

from camagent.notify import Notifier
from server_stub.api import list_devices, list_ice_servers
from server_stub.device import serve_device
from server_stub.door import http_log
from server_stub.health import Readiness, metrics_served, show_health
from server_stub.relay import RELAY, Relay, open_relay
from server_stub.settings import RelaySettings
from server_stub.viewer import serve_viewer

log = structlog.get_logger(__name__)

_BACKLOG = 4096
_USER_TIMEOUT_MS = 30_000
_SHUTDOWN_DEADLINE_S = 5.0
_KEEPALIVE_S = 30.0
_STATUS_INTERVAL_S = 5.0

_CONTENT_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}

_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob: mediastream:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_application(relay: Relay) -> web.Application:
    """Lay out the routes."""
    application = web.Application(middlewares=[relay.door.admit])
    application[RELAY] = relay
    application.on_response_prepare.append(_add_security_headers)
    application.on_shutdown.append(_say_goodbye)
    application.router.add_get("/ws/device", serve_device)
    application.router.add_get("/ws/viewer", serve_viewer)
    application.router.add_get("/api/devices", list_devices)
    application.router.add_get("/api/ice-servers", list_ice_servers)
    application.router.add_get("/healthz", show_health)
    application.router.add_get("/readyz", Readiness().show)
    for name, serve in _pages():
        application.router.add_get("/" if name == "index.html" else f"/{name}", serve)
    return application


@asynccontextmanager
async def running(settings: RelaySettings) -> AsyncIterator[Relay]:
    """Serve while the block runs; `relay.port` says where."""
    async with open_relay(settings) as relay:
        runner = web.AppRunner(
            make_application(relay),
            access_log=None,
            shutdown_timeout=_SHUTDOWN_DEADLINE_S,
            keepalive_timeout=_KEEPALIVE_S,
            logger=http_log(),
        )
        await runner.setup()
        try:
            async with metrics_served(relay, settings.metrics_host, settings.metrics_port):
                listening = _listen(settings.host, settings.port)
                assert runner.server is not None
                server = await asyncio.get_running_loop().create_server(
                    relay.door.timed(runner.server), sock=listening, backlog=_BACKLOG
                )
                with contextlib.closing(server):
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
        _leave_garbage_alone()
        log.info("relay.listening", url=_url(settings.host, relay.port))
        notifier.ready()
        while not asked.is_set():
            notifier.status(f"{len(relay.devices)} devices · {len(relay.sessions)} sessions")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STATUS_INTERVAL_S):
                    await asked.wait()
        notifier.stopping()
        log.info("relay.stopping", sessions=len(relay.sessions), devices=len(relay.devices))


def _leave_garbage_alone() -> None:
    """Look for no cycles among what was loaded at the start: that makes all connections wait."""
    gc.collect()
    gc.freeze()


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


async def _add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    if response.status != HTTPStatus.SWITCHING_PROTOCOLS:  # where they mean nothing, and stay
        response.headers.update(_SECURITY_HEADERS)


async def _say_goodbye(application: web.Application) -> None:
    application[RELAY].close_connections()


def _pages() -> list[tuple[str, Callable[[web.Request], Any]]]:
    """Read the viewer page; only what lies there is served."""
    found = []
    for entry in files("server_stub").joinpath("web").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in _CONTENT_TYPES:
            found.append((entry.name, _page(entry.read_bytes(), _CONTENT_TYPES[suffix])))
    return found


def _page(content: bytes, content_type: str) -> Callable[[web.Request], Any]:
    async def serve(_request: web.Request) -> web.Response:
        return web.Response(
            body=content,
            content_type=content_type,
            charset="utf-8",
            headers={"Cache-Control": "no-cache"},
        )

    return serve

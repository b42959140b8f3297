"""The relay's web application: its routes, how it starts, and how it stops."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from camagent.notify import Notifier
from camagent.signaling.messages import LARGEST_MESSAGE_BYTES
from server_stub.addresses import SURROUNDINGS, client_address, origin_is_allowed
from server_stub.api import list_devices, list_ice_servers
from server_stub.device import serve_device
from server_stub.door import http_log
from server_stub.headers import ClientConnection, add_headers
from server_stub.health import Readiness, metrics_served, show_health
from server_stub.pages import add_page_routes
from server_stub.problem import tell_of_database
from server_stub.relay import RELAY, Relay, open_relay
from server_stub.settings import RelaySettings
from server_stub.viewer import serve_viewer
from server_stub.whep import add_whep_routes

log = structlog.get_logger(__name__)

_BACKLOG = 4096
_USER_TIMEOUT_MS = 30_000
_SHUTDOWN_DEADLINE_S = 5.0
_GOODBYE_DEADLINE_S = 1.0
_KEEPALIVE_S = 30.0
_STATUS_INTERVAL_S = 5.0
_LONGEST_ORIGIN = 200
# The last of them: after a million objects that stay, and not three times while a fleet comes.
_GARBAGE_THRESHOLDS = (2_000, 10, 50)

_BEGINNINGS = ("/ws/", "/whep/")


def make_application(relay: Relay) -> web.Application:
    """Lay out the routes."""
    application = web.Application(
        middlewares=[relay.door.admit, _refuse, tell_of_database],
        client_max_size=LARGEST_MESSAGE_BYTES,
    )
    application[RELAY] = relay
    application[SURROUNDINGS] = relay.surroundings
    application.on_response_prepare.append(add_headers)
    application.on_shutdown.append(_say_goodbye)
    application.router.add_get("/ws/device", serve_device)
    application.router.add_get("/ws/viewer", serve_viewer)
    application.router.add_get("/api/devices", list_devices)
    application.router.add_get("/api/ice-servers", list_ice_servers)
    application.router.add_get("/healthz", show_health)
    application.router.add_get("/readyz", Readiness().show)
    add_whep_routes(application.router)
    add_page_routes(application.router)
    return application


@asynccontextmanager
async def running(settings: RelaySettings) -> AsyncIterator[Relay]:
    """Serve while the block runs; `relay.port` says where."""
    async with open_relay(settings) as relay:
        runner = web.AppRunner(make_application(relay), shutdown_timeout=_SHUTDOWN_DEADLINE_S)
        await runner.setup()
        try:
            async with metrics_served(relay, settings.metrics_host, settings.metrics_port):
                listening = _listen(settings.host, settings.port)
                assert runner.server is not None
                server = await asyncio.get_running_loop().create_server(
                    relay.door.guarded(_connections_of(runner.server)),
                    sock=listening,
                    backlog=_BACKLOG,
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
        await _drain(relay, settings.drain_s, asked)


async def _drain(relay: Relay, over_s: float, hurried: asyncio.Event) -> None:
    """Let the connections go one by one, unless somebody asks to stop a second time."""
    hurried.clear()
    draining = asyncio.create_task(relay.drain(over_s))
    waiting = asyncio.create_task(hurried.wait())
    await asyncio.wait([draining, waiting], return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, waiting):
        task.cancel()
    await asyncio.wait([draining, waiting])


def _connections_of(server: web.Server) -> Callable[[], ClientConnection]:
    """Give what makes the server's connections: it could make none but aiohttp's own."""
    options: dict[str, Any] = {
        "access_log": None,
        "keepalive_timeout": _KEEPALIVE_S,
        "logger": http_log(),
    }
    return partial(ClientConnection, server, loop=asyncio.get_running_loop(), **options)


def _leave_garbage_alone() -> None:
    """Look for garbage rarely among what stays: it takes a tenth of a second, and all wait for it.

    There is none to find but by accident: connections that end leave no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)


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


@web.middleware
def _refuse(request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
    """Refuse what would be ended at once, and strangers' pages before they are connected.

    Names the client in every log line of the request. No coroutine: it would stay as long as the
    connection that it let in.
    """
    if not request.path.startswith(_BEGINNINGS):
        return handler(request)
    reason = request.app[RELAY].unready_because
    if reason is not None and request.method in ("GET", "POST"):  # what ends a session may pass
        raise web.HTTPServiceUnavailable(text=f"{reason}\n", headers={"Retry-After": "1"})
    # A request has a task of its own, and with it what is bound here ends.
    structlog.contextvars.bind_contextvars(address=client_address(request))
    if origin_is_allowed(request):
        return handler(request)
    log.info("origin.refused", origin=request.headers["Origin"][:_LONGEST_ORIGIN])
    raise web.HTTPForbidden(text="this page's origin is not allowed here\n")


async def _say_goodbye(application: web.Application) -> None:
    application[RELAY].close_connections()
    await application[RELAY].hang_up(_GOODBYE_DEADLINE_S)

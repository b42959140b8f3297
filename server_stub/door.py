"""Who may come in at all: requests that never come, and addresses that come too often."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from server_stub.addresses import client_address
from server_stub.guard import Guard, begin_request
from server_stub.limits import RateLimit, Tally
from server_stub.metrics import Meters

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_GUARDED = ("/ws/", "/api/", "/whep/")
_NOT_LET_IN = frozenset({401, 403})
_MOST_SILENT = 1024
_MOST_IDLE = 1024
_SWEEP_INTERVAL_S = 1.0
_FULL_RETRY_S = 5.0
# Who has one IPv6 address has all of its network (RFC 6177).
_IPV6_PREFIX = 64


class Door:
    """Refuses before a handler runs. One for each relay.

    `unlimited` are networks to which no limit per address applies.
    """

    def __init__(
        self,
        *,
        connects: RateLimit,
        present: Tally,
        unlimited: Sequence[IPv4Network | IPv6Network],
        header_deadline_s: float,
        meters: Meters,
    ) -> None:
        self._connects = connects
        self._present = present
        self._unlimited = unlimited
        self._header_deadline_s = header_deadline_s
        self._meters = meters
        self._silent: dict[web.RequestHandler, float] = {}
        self._idle: dict[web.RequestHandler, None] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def guarded(self, make: Callable[[], web.RequestHandler]) -> Callable[[], Guard]:
        """Wrap a factory of protocols: a client whose request does not come is hung up on."""
        forget = self._forget

        def made() -> Guard:
            protocol = make()
            self._silent[protocol] = time.monotonic()
            if self._sweeping is None:
                self._sweep_soon()
            return Guard(protocol, forget)

        return made

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request pass, or answer it with 429 (RFC 6585, 4) and when to come again."""
        self._forget(request.protocol)
        begin_request(request)
        key = None
        # In one function: of each that waits for a connection to end thousands are in memory.
        try:
            if request.path.startswith(_GUARDED):
                wanted = self._key(client_address(request))
                if wanted is not None and (refusal := await self._refusal(wanted)):
                    return refusal
                key = wanted
                if key is not None:
                    self._present.add(key)
            response = await handler(request)
            self._note(response.status)
        except web.HTTPException as error:
            self._note(error.status)
            raise
        finally:
            if key is not None:
                self._present.remove(key)
            self._keep_idle(request.protocol)
        return response

    async def _refusal(self, key: str) -> web.Response | None:
        if wait_s := await self._connects.wait_s(key):
            return self._refuse("connects", wait_s, key)
        if self._present.is_full(key):
            return self._refuse("connections", _FULL_RETRY_S, key)
        return None

    def _note(self, status: int) -> None:
        if status in _NOT_LET_IN:
            self._meters.auth_failed("http")

    def _refuse(self, limit: str, wait_s: float, key: str) -> web.Response:
        self._meters.limited(limit)
        log.debug("door.refused", limit=limit, address=key)
        return web.Response(
            status=429,
            text=f"too many {limit} of your address\n",
            headers={"Retry-After": str(math.ceil(wait_s))},
        )

    def _key(self, address: str) -> str | None:
        """Tell for whom limits are kept; None if nothing limits this address."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return address
        if isinstance(parsed, IPv6Address):
            parsed = parsed.ipv4_mapped or parsed
        if any(parsed in network for network in self._unlimited):
            return None
        if isinstance(parsed, IPv6Address):
            return str(ip_network((int(parsed), _IPV6_PREFIX), strict=False))
        return str(parsed)

    def _forget(self, protocol: web.RequestHandler) -> None:
        self._silent.pop(protocol, None)
        self._idle.pop(protocol, None)

    def _keep_idle(self, protocol: web.RequestHandler) -> None:
        """Let a socket wait for its next request; of too many, hang up on the one that waits longest.

        The limits per address are on what is asked, and such a socket asks nothing.
        """
        if protocol.transport is None or protocol.transport.is_closing():
            return
        self._idle[protocol] = None
        if len(self._idle) > _MOST_IDLE:
            self._hang_up(next(iter(self._idle)))

    def _hang_up(self, protocol: web.RequestHandler) -> None:
        self._forget(protocol)
        if protocol.transport is not None:
            self._meters.limited("request")
            protocol.transport.abort()

    def _sweep_soon(self) -> None:
        interval_s = min(_SWEEP_INTERVAL_S, self._header_deadline_s)
        self._sweeping = asyncio.get_running_loop().call_later(interval_s, self._sweep)

    def _sweep(self) -> None:
        """Hang up on who has been silent for too long; of too many, on the oldest."""
        now_s = time.monotonic()
        for protocol, since_s in tuple(self._silent.items()):
            age_s = now_s - since_s
            is_one_too_many = len(self._silent) > _MOST_SILENT and age_s > _SWEEP_INTERVAL_S
            if age_s < self._header_deadline_s and not is_one_too_many:
                break
            self._hang_up(protocol)
        self._sweeping = None
        if self._silent:
            self._sweep_soon()


def _is_ours(record: logging.LogRecord) -> bool:
    """Tell whether a failed request is worth a line: not if what came was no HTTP."""
    cause = record.exc_info[1] if record.exc_info else None
    return not isinstance(cause, HttpProcessingError)


def http_log() -> logging.Logger:
    """Give aiohttp a log that strangers cannot fill."""
    http = logging.getLogger(f"{__name__}.http")
    http.filters = [_is_ours]
    return http

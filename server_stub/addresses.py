"""Where a request comes from: the client's address behind proxies, and the origin of a page.

Whoever connects may write any header. What `X-Forwarded-For`, `-Host` and `-Proto` say counts only
if a configured proxy connects, and of the addresses only what such proxies have added. `Forwarded`
(RFC 7239) is not read: most proxies pass on what the client wrote there.
"""

import contextlib
import functools
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from aiohttp import web

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

ANY_ORIGIN = "*"
_MOST_REMEMBERED = 1_000
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Surroundings:
    """The proxies that are believed, and the origins whose pages may connect; none: our own."""

    trusted_proxies: Sequence[Network] = ()
    allowed_origins: Sequence[str] = ()

    def trusts(self, address: Address | None) -> bool:
        """Tell whether this is a configured proxy."""
        return address is not None and any(
            address.version == network.version and address in network
            for network in self.trusted_proxies
        )


SURROUNDINGS: web.AppKey[Surroundings] = web.AppKey("surroundings", Surroundings)


def client_address(request: web.Request) -> str:
    """Give the client's IP address: the last one on the way here that is no configured proxy.

    Empty if the connection is gone already.
    """
    surroundings = request.app[SURROUNDINGS]
    client = _address(request.remote or "")
    if client is None:
        return request.remote or ""
    hops = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
    while surroundings.trusts(client) and hops:
        before = _address(hops.pop().strip())
        if before is None:
            break
        client = before
    return str(client)


def origin_is_allowed(request: web.Request) -> bool:
    """Tell whether the page that connects may: it is ours or listed. What is no browser may.

    Tokens are the protection; this keeps a stranger's page from using one's network position, such
    as for a device that needs no token.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    allowed = request.app[SURROUNDINGS].allowed_origins
    if allowed:
        return ANY_ORIGIN in allowed or normal_origin(origin) in allowed
    return _is_own(origin, request)


def normal_origin(text: str) -> str | None:
    """Write an http or https origin as browsers do (RFC 6454, 6.2), or None if it is none."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), parts.hostname
    is_bare = (parts.path, parts.query, parts.fragment) in (("", "", ""), ("/", "", ""))
    if scheme not in _DEFAULT_PORTS or not host or parts.username is not None or not is_bare:
        return None
    host = f"[{host}]" if ":" in host else host
    is_usual = port is None or port == _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}" if is_usual else f"{scheme}://{host}:{port}"


def _is_own(origin: str, request: web.Request) -> bool:
    """Compare an origin with what the browser asked for: its host, and its scheme where known."""
    normal = normal_origin(origin)
    if normal is None:
        return False
    scheme, host = normal.split("://")[0], request.headers.get("Host", "")
    if request.app[SURROUNDINGS].trusts(_address(request.remote or "")):
        # No page can write these two, so the first is what the outermost proxy saw.
        host = _first(request, "X-Forwarded-Host") or host
        if (_first(request, "X-Forwarded-Proto") or scheme).lower() != scheme:
            return False
    return normal == normal_origin(f"{scheme}://{host}")


def _first(request: web.Request, name: str) -> str:
    return request.headers.get(name, "").partition(",")[0].strip()


@functools.lru_cache(_MOST_REMEMBERED)
def _address(text: str) -> Address | None:
    """Read an address as proxies write it: with a port or without, in brackets or not.

    Remembered, as each request is asked several times, and a fleet behind a proxy has one.
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    with contextlib.suppress(ValueError):
        # What came over an IPv6 socket from an IPv4 client is that client.
        address = ipaddress.ip_address(text.partition("%")[0])
        return getattr(address, "ipv4_mapped", None) or address
    return None

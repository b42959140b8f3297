"""The way to the server, step by step: its name, its port, its certificate, its answer to a hello."""

import asyncio
import os
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from camagent.check.findings import Finding, Verdict
from camagent.check.machine import HOW_TO_SET_THE_CLOCK
from camagent.presence import describe_device
from camagent.signaling.link import Link
from camagent.signaling.messages import DevicePresence, ToDevice
from camagent.signaling.options import LinkOptions

NAME, PORT, CERTIFICATE, HELLO = "server name", "server port", "server TLS", "server hello"

_DEADLINE_S = 10.0
_DEFAULT_PORTS = {"ws": 80, "wss": 443}

# Of OpenSSL: X509_V_ERR_…
_NOT_YET_VALID = 9
_EXPIRED = 10
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})

_FIXES = (
    (
        r"\((401|403|1008)\)",
        "check CAMAGENT_DEVICE_ID and CAMAGENT_DEVICE_TOKEN against the server",
    ),
    (r"clock is not set", HOW_TO_SET_THE_CLOCK),
    (r"HTTP 404", "check the path in CAMAGENT_SERVER_URL: without one, /ws/device is added"),
    (r"HTTP 5\d\d", "the server or a proxy before it is in trouble: look at its log"),
    (r"no hello_ack", "what listens there is not the relay of this camera: check the URL"),
)
_WANTS_TLS = "perhaps this port speaks TLS: try wss:// in CAMAGENT_SERVER_URL"
_WANTS_CERTIFICATE = "perhaps the server wants a certificate of this Pi: CAMAGENT_CLIENT_CERT_FILE"


def fix_for(problem: str, *, is_encrypted: bool) -> str:
    """Say what to do about the reason for which the link, over TLS or not, is down."""
    if "valid HTTP" in problem:
        # A server that wants a certificate of ours says so only after the handshake of TLS 1.3.
        return _WANTS_CERTIFICATE if is_encrypted else _WANTS_TLS
    for pattern, fix in _FIXES:
        if re.search(pattern, problem):
            return fix
    return "look at the server's log for this device"


@dataclass(frozen=True)
class _Server:
    """Where it is."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "_Server":
        parts = urlsplit(url)
        assert parts.hostname is not None, "settings see to it"
        return cls(parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


async def check_server(
    options: LinkOptions, *, hello: Finding | None = None
) -> AsyncIterator[Finding]:
    """Go as far as the server lets us; what depends on a failed step is skipped.

    `hello` is what to tell instead of saying hello, which a running agent has done already.
    """
    server = _Server.of(options.url)
    if proxy := _proxy(server):
        for name in (NAME, PORT, CERTIFICATE):
            yield Finding(name, Verdict.SKIPPED, f"the way goes through the proxy {proxy}")
        yield hello or await _hello(options)
        return
    steps: dict[str, Callable[[], Awaitable[Finding]]] = {
        NAME: lambda: _resolve(server),
        PORT: lambda: _connect(server),
        CERTIFICATE: lambda: _shake_hands(server, options.tls),
        HELLO: lambda: _hello(options),
    }
    failed: str | None = None
    for name, step in steps.items():
        if name == HELLO and hello is not None:
            yield hello
        elif failed is not None:
            yield Finding(name, Verdict.SKIPPED, f"it needs the {failed}, which failed")
        else:
            finding = await step()
            yield finding
            failed = name if finding.verdict is Verdict.FAILED else None


def _proxy(server: _Server) -> str | None:
    """Name the proxy that the environment sends us through, as the link will find it."""
    if proxy_bypass(f"{server.host}:{server.port}"):
        return None
    schemes = (
        ["wss", "socks", "https"] if server.scheme == "wss" else ["ws", "socks", "https", "http"]
    )
    proxies = getproxies()
    proxy = next((proxies[scheme] for scheme in schemes if scheme in proxies), None)
    # Without the password that may stand before the @.
    return None if proxy is None else proxy.rpartition("@")[2].rpartition("//")[2]


async def _resolve(server: _Server) -> Finding:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_DEADLINE_S):
            found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return _not_found(server, f"no name server answered within {_DEADLINE_S:g} s")
    except (OSError, UnicodeError) as error:
        return _not_found(server, _reason(error))
    addresses = ", ".join(dict.fromkeys(str(address[0]) for *_, address in found))
    return Finding(NAME, Verdict.OK, f"{server.host} is {addresses}")


def _not_found(server: _Server, reason: str) -> Finding:
    fix = f"check the host in CAMAGENT_SERVER_URL, and the network: getent hosts {server.host}"
    return Finding(NAME, Verdict.FAILED, f"{server.host} is not found: {reason}", fix)


async def _connect(server: _Server) -> Finding:
    started_at_s = time.monotonic()
    try:
        async with asyncio.timeout(_DEADLINE_S):
            _, writer = await asyncio.open_connection(server.host, server.port)
    except TimeoutError:
        return _not_reached(server, f"no answer within {_DEADLINE_S:g} s")
    except OSError as error:
        return _not_reached(server, _reason(error))
    address = writer.get_extra_info("peername")[0]
    writer.transport.abort()
    milliseconds = round((time.monotonic() - started_at_s) * 1000)
    return Finding(PORT, Verdict.OK, f"{address} port {server.port} answers in {milliseconds} ms")


def _not_reached(server: _Server, reason: str) -> Finding:
    fix = (
        "check host and port in CAMAGENT_SERVER_URL, that the server runs, and that no firewall "
        "stands between"
    )
    return Finding(PORT, Verdict.FAILED, f"{server} cannot be reached: {reason}", fix)


async def _shake_hands(server: _Server, tls: ssl.SSLContext | None) -> Finding:
    if tls is None:
        return Finding(CERTIFICATE, Verdict.SKIPPED, "ws:// has none: nothing is encrypted")
    try:
        async with asyncio.timeout(_DEADLINE_S):
            _, writer = await asyncio.open_connection(server.host, server.port, ssl=tls)
    except ssl.SSLCertVerificationError as error:
        return _not_trusted(server, error)
    except TimeoutError:
        return _no_tls(server, f"no answer within {_DEADLINE_S:g} s")
    except OSError as error:
        return _no_tls(server, _reason(error))
    connection = writer.get_extra_info("ssl_object")
    ends_at_s = ssl.cert_time_to_seconds(connection.getpeercert()["notAfter"])
    version = connection.version()
    writer.transport.abort()
    until = time.strftime("%Y-%m-%d", time.gmtime(ends_at_s))
    return Finding(CERTIFICATE, Verdict.OK, f"{version}, certificate valid until {until}")


def _not_trusted(server: _Server, error: ssl.SSLCertVerificationError) -> Finding:
    here = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    code, reason = error.verify_code, error.verify_message
    if code == _NOT_YET_VALID:
        text = f"the clock of this Pi is not set yet: here it is {here}, before the certificate"
        fix = HOW_TO_SET_THE_CLOCK
    elif code == _EXPIRED:
        text = f"the server's certificate has expired; here it is {here}"
        fix = "renew the certificate on the server, unless the clock of this Pi is wrong"
    elif code in _UNKNOWN_AUTHORITY:
        text = f"nobody this Pi trusts has signed the server's certificate: {reason}"
        fix = "set CAMAGENT_SERVER_CA_FILE to the certificate of the authority that signed it"
    elif code in _OTHER_NAME:
        text = f"the server's certificate is for another name: {reason}"
        fix = "use the name of the certificate in CAMAGENT_SERVER_URL, or a certificate for it"
    else:
        text = f"the server's certificate is refused: {reason}"
        fix = f"see: openssl s_client -connect {server.host}:{server.port}"
    return Finding(CERTIFICATE, Verdict.FAILED, text, fix)


def _no_tls(server: _Server, reason: str) -> Finding:
    fix = "perhaps this port speaks ws:// and not wss://: check CAMAGENT_SERVER_URL"
    if "HANDSHAKE_FAILURE" in reason or "CERTIFICATE_REQUIRED" in reason:
        fix = _WANTS_CERTIFICATE
    return Finding(CERTIFICATE, Verdict.FAILED, f"{server} does not agree on TLS: {reason}", fix)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    if isinstance(error, OSError) and error.errno:
        # What asyncio says instead only repeats the address.
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


class _Silent:
    """A listener of the link that lets everything pass."""

    def link_active(self) -> None:
        pass

    def link_lost(self) -> None:
        pass

    def take(self, message: ToDevice) -> None:
        pass


def _idle() -> DevicePresence.Payload:
    return describe_device(camera="idle", camera_problem=None, viewers=0)


async def _hello(options: LinkOptions) -> Finding:
    link = Link(replace(options, hello_deadline_s=_DEADLINE_S), _Silent(), _idle)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.run(), name="link")
        await link.until_settled()
        problem = link.problem
        running.cancel()
    if problem is None:
        return Finding(HELLO, Verdict.OK, f"the server accepted {options.device_id}")
    fix = fix_for(problem, is_encrypted=options.tls is not None)
    return Finding(HELLO, Verdict.FAILED, problem, fix)

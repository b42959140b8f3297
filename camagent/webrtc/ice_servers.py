"""STUN and TURN servers as the server names them, in the order in which they are tried."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog
from aiortc.rtcicetransport import parse_stun_turn_uri

from camagent.signaling.messages import IceServer

log = structlog.get_logger(__name__)

MOST_SERVERS = 16
"""More URLs than this are not tried: each costs sockets."""

_USED = frozenset({("stun", "udp"), ("turn", "udp"), ("turn", "tcp"), ("turns", "tcp")})
_HIGHEST_PORT = 65_535
_URL_SHOWN = 80


class UnusableUrl(ValueError):
    """A URL that no session would use; the text says why."""


@dataclass(frozen=True)
class StunServer:
    """Tells us our address as it is outside (RFC 8489)."""

    host: str
    port: int


@dataclass(frozen=True)
class TurnServer:
    """Relays for us (RFC 8656). `transport` is how we reach it: `udp`, `tcp` or `tls`."""

    host: str
    port: int
    transport: str
    username: str | None = field(default=None, repr=False)
    credential: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What it is, for logs."""
        return f"{self.host}:{self.port}/{self.transport}"


@dataclass(frozen=True)
class IceServers:
    """Every server that can be used; the relays over UDP before those over TCP, TLS last."""

    stun: tuple[StunServer, ...] = ()
    turn: tuple[TurnServer, ...] = ()


def usable_servers(servers: Iterable[IceServer]) -> IceServers:
    """Read every URL on its own; one that cannot be used is skipped with a warning."""
    stun: list[StunServer] = []
    turn: list[TurnServer] = []
    for server in servers:
        for url in server.all_urls:
            try:
                one = read_server(url, server)
            except UnusableUrl as error:
                log.warning("ice.server_skipped", url=url[:_URL_SHOWN], problem=str(error))
                continue
            if len(stun) + len(turn) >= MOST_SERVERS:
                log.warning("ice.server_skipped", url=url[:_URL_SHOWN], problem="too many")
            elif isinstance(one, StunServer):
                stun.append(one)
            else:
                turn.append(one)
    turn.sort(key=lambda server: ("udp", "tcp", "tls").index(server.transport))
    return IceServers(tuple(dict.fromkeys(stun)), tuple(dict.fromkeys(turn)))


def read_server(url: str, server: IceServer) -> StunServer | TurnServer:
    """Read one URL of `server`.

    Raises:
        UnusableUrl: it cannot be read, or is of a kind that is not used here.
    """
    try:
        parsed = parse_stun_turn_uri(url)
    except ValueError as error:
        raise UnusableUrl("it cannot be read as the URL of a STUN or TURN server") from error
    scheme, host, port = parsed["scheme"], str(parsed["host"]), int(parsed["port"])
    transport = parsed.get("transport", "udp")
    if (scheme, transport) not in _USED:
        raise UnusableUrl(f"this agent does not use {scheme}: over {transport[:20]}")
    if not 0 < port <= _HIGHEST_PORT:
        raise UnusableUrl(f"{port} is no port")
    if scheme == "stun":
        return StunServer(host, port)
    way = "tls" if scheme == "turns" else transport
    return TurnServer(host, port, way, server.username, server.credential)

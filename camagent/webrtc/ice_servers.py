"""STUN and TURN servers as the server names them, in the order in which they are tried."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog
from aiortc.rtcicetransport import parse_stun_turn_uri

from camagent.signaling.messages import IceServer

log = structlog.get_logger(__name__)

MOST_SERVERS = 16
"""More URLs than this are not tried: each costs sockets."""

_HIGHEST_PORT = 65_535
_URL_SHOWN = 80


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
                one = _read(url, server)
            except ValueError as error:
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


def _read(url: str, server: IceServer) -> StunServer | TurnServer:
    parsed = parse_stun_turn_uri(url)
    scheme, host, port = parsed["scheme"], str(parsed["host"]), int(parsed["port"])
    if not 0 < port <= _HIGHEST_PORT:
        raise ValueError(f"there is no port {port}")
    if scheme == "stun":
        return StunServer(host, port)
    transport = parsed.get("transport")
    if scheme == "stuns" or (scheme, transport) == ("turns", "udp"):
        raise ValueError(f"{scheme}: over {transport or 'TLS'} is not supported here")
    if transport not in {"udp", "tcp"}:
        raise ValueError(f"there is no transport {transport}")
    return TurnServer(
        host,
        port,
        "tls" if scheme == "turns" else transport,
        server.username,
        server.credential,
    )

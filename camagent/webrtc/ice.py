"""ICE servers and candidates, between the wire's form and aiortc's."""

import ipaddress
from collections.abc import Iterable

import structlog
from aiortc import RTCIceCandidate, RTCIceServer
from aiortc.rtcicetransport import parse_stun_turn_uri
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp

from camagent.errors import NegotiationFailed
from camagent.signaling.messages import IceCandidate, IceServer

log = structlog.get_logger(__name__)

_PREFIX = "candidate:"
_HIGHEST_PORT = 65_535


def usable_servers(servers: Iterable[IceServer]) -> list[RTCIceServer]:
    """List every STUN and TURN URL on its own, UDP before TCP before TLS.

    aiortc uses the first of each kind, so the order decides. A URL that is no STUN or TURN URL is
    skipped with a warning.
    """
    usable = []
    for server in servers:
        for url in server.all_urls:
            try:
                parsed = parse_stun_turn_uri(url)
            except ValueError as error:
                log.warning("ice.server_skipped", url=url[:80], problem=str(error))
                continue
            one = RTCIceServer(urls=url, username=server.username, credential=server.credential)
            usable.append((_preference(parsed), one))
    return [server for _, server in sorted(usable, key=lambda pair: pair[0])]


def _preference(parsed: dict[str, object]) -> int:
    if parsed["scheme"] in {"turns", "stuns"}:
        return 2
    return 1 if parsed.get("transport") == "tcp" else 0


def to_aiortc(candidate: IceCandidate, *, mid: str | None) -> RTCIceCandidate:
    """Read a viewer's candidate. There is one transport, so it always belongs to section `mid`.

    Raises:
        NegotiationFailed: it is not a candidate line (RFC 8839, section 5.1).
    """
    text = candidate.candidate
    if not text.startswith(_PREFIX):
        raise NegotiationFailed("a candidate does not start with candidate:")
    try:
        read = candidate_from_sdp(text.removeprefix(_PREFIX))
        if not read.ip.endswith(".local"):
            ipaddress.ip_address(read.ip)
    except (AssertionError, IndexError, ValueError) as error:
        raise NegotiationFailed("a candidate cannot be read") from error
    if not 0 <= read.port <= _HIGHEST_PORT:
        raise NegotiationFailed(f"a candidate has port {read.port}, which is none")
    read.sdpMid = mid
    read.sdpMLineIndex = 0
    return read


def to_wire(candidate: RTCIceCandidate, *, mid: str | None, index: int) -> IceCandidate:
    """Write one of our candidates."""
    return IceCandidate(
        candidate=f"{_PREFIX}{candidate_to_sdp(candidate)}", sdpMid=mid, sdpMLineIndex=index
    )

"""Candidates, between the wire's form and aiortc's; those of no use to an honest viewer are refused."""

import ipaddress

from aiortc import RTCIceCandidate
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp

from camagent.errors import NegotiationFailed
from camagent.signaling.messages import IceCandidate

_PREFIX = "candidate:"
_HIGHEST_PORT = 65_535
_ADDRESS = 4
"""Where the address stands in a candidate line, counted from 0."""


def has_name(candidate: IceCandidate) -> bool:
    """Tell a candidate whose address multicast DNS has to find, which takes up to a second."""
    fields = candidate.candidate.split()
    return len(fields) > _ADDRESS and fields[_ADDRESS].endswith(".local")


def to_aiortc(candidate: IceCandidate, *, mid: str | None) -> RTCIceCandidate:
    """Read a viewer's candidate. There is one transport, so it always belongs to section `mid`.

    Raises:
        NegotiationFailed: it is not a candidate line (RFC 8839, section 5.1), or names an address
            at which no viewer is.
    """
    text = candidate.candidate
    if not text.startswith(_PREFIX):
        raise NegotiationFailed("a candidate does not start with candidate:")
    try:
        read = candidate_from_sdp(text.removeprefix(_PREFIX))
        address = None if has_name(candidate) else ipaddress.ip_address(read.ip)
    except (AssertionError, IndexError, ValueError) as error:
        raise NegotiationFailed("a candidate cannot be read") from error
    if not 0 <= read.port <= _HIGHEST_PORT:
        raise NegotiationFailed(f"a candidate has port {read.port}, which is none")
    if address is not None and (kind := _forbidden(address)):
        raise NegotiationFailed(f"a candidate has a {kind} address")
    read.sdpMid = mid
    read.sdpMLineIndex = 0
    return read


def _forbidden(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
    """Name what makes an address none of a viewer's: with it a viewer could knock at our own doors."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return "loopback"
    if address.is_multicast or str(address) == "255.255.255.255":
        return "multicast"
    if address.is_unspecified:
        return "unspecified"
    if address.is_link_local and isinstance(address, ipaddress.IPv4Address):
        return "link-local"
    return None


def to_wire(candidate: RTCIceCandidate, *, mid: str | None, index: int) -> IceCandidate:
    """Write one of our candidates."""
    return IceCandidate(
        candidate=f"{_PREFIX}{candidate_to_sdp(candidate)}", sdpMid=mid, sdpMLineIndex=index
    )

"""Candidates between the wire and aiortc."""

import pytest
from aiortc.sdp import candidate_from_sdp

from camagent.errors import NegotiationFailed
from camagent.signaling.messages import IceCandidate
from camagent.webrtc.ice import has_name, to_aiortc, to_wire

HOST = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"


def test_a_candidate_always_belongs_to_the_video() -> None:
    """There is one transport; whatever section a browser names, its candidates serve it."""
    read = to_aiortc(IceCandidate(candidate=HOST, sdpMid="0", sdpMLineIndex=4), mid="7")

    assert (read.ip, read.port, read.sdpMid) == ("192.0.2.1", 5000, "7")


@pytest.mark.parametrize(
    "text",
    [
        "candidate:",
        "candidate:1 1 udp",
        "hello",
        "candidate:1 one udp x 192.0.2.1 5000 typ host",
        "candidate:1 1 udp 2130706431 internal.example 5000 typ host",
        "candidate:1 1 udp 2130706431 999.0.0.1 5000 typ host",
        "candidate:1 1 udp 2130706431 192.0.2.1 70000 typ host",
        "candidate:1 1 udp 2130706431 192.0.2.1 -1 typ host",
    ],
)
def test_what_is_no_candidate_is_refused(text: str) -> None:
    """Broken candidates and foreign host names are refused, not resolved."""
    with pytest.raises(NegotiationFailed):
        to_aiortc(IceCandidate(candidate=text), mid="0")


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("224.0.0.251", "multicast"),
        ("ff02::fb", "multicast"),
        ("255.255.255.255", "multicast"),
        ("0.0.0.0", "unspecified"),  # noqa: S104 - nothing binds to it
        ("::", "unspecified"),
    ],
)
def test_addresses_of_no_viewer_are_refused(address: str, kind: str) -> None:
    """A viewer cannot have this device knock at its own doors, or at a cloud's metadata."""
    text = HOST.replace("192.0.2.1", address)
    with pytest.raises(NegotiationFailed, match=kind):
        to_aiortc(IceCandidate(candidate=text), mid="0")


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.1.9", "fe80::1", "2001:db8::1"])
def test_addresses_of_a_neighbour_are_taken(address: str) -> None:
    """A viewer may well be in the same network."""
    text = HOST.replace("192.0.2.1", address)
    assert to_aiortc(IceCandidate(candidate=text), mid="0").ip == address


def test_a_name_is_told_from_an_address() -> None:
    """By its place, whatever else stands in the line."""
    assert has_name(IceCandidate(candidate=HOST.replace("192.0.2.1", "1-2-3.local")))
    assert not has_name(IceCandidate(candidate=HOST + " ufrag x.local"))
    assert not has_name(IceCandidate(candidate=""))


def test_our_candidates_carry_their_section() -> None:
    """A browser knows our candidate by the mid and index of its own offer."""
    written = to_wire(candidate_from_sdp(HOST.removeprefix("candidate:")), mid="1", index=1)

    assert written.candidate == HOST
    assert (written.sdpMid, written.sdpMLineIndex) == ("1", 1)

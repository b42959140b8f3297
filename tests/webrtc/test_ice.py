"""ICE servers and candidates between the wire and aiortc."""

import pytest
from aiortc.sdp import candidate_from_sdp

from camagent.errors import NegotiationFailed
from camagent.signaling.messages import IceCandidate, IceServer
from camagent.webrtc.ice import to_aiortc, to_wire, usable_servers

HOST = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"


def test_servers_are_listed_udp_first() -> None:
    """Each URL stands alone, UDP before TCP before TLS, with its credentials."""
    servers = usable_servers(
        [
            IceServer(
                urls=(
                    "turns:t.example:443?transport=tcp",
                    "turn:t.example:3478?transport=tcp",
                    "turn:t.example:3478?transport=udp",
                ),
                username="u",
                credential="c",
            ),
            IceServer(urls="stun:s.example"),
        ]
    )

    assert [server.urls for server in servers] == [
        "turn:t.example:3478?transport=udp",
        "stun:s.example",
        "turn:t.example:3478?transport=tcp",
        "turns:t.example:443?transport=tcp",
    ]
    assert servers[0].username == "u"
    assert servers[0].credential == "c"


@pytest.mark.parametrize("url", ["", "http://a", "turn:", "stun:a:b:c", "stun:a?transport=udp"])
def test_a_broken_server_is_skipped(url: str) -> None:
    """A URL that is none costs only itself."""
    servers = usable_servers([IceServer(urls=url), IceServer(urls="stun:s.example")])

    assert [server.urls for server in servers] == ["stun:s.example"]


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


def test_our_candidates_carry_their_section() -> None:
    """A browser knows our candidate by the mid and index of its own offer."""
    written = to_wire(candidate_from_sdp(HOST.removeprefix("candidate:")), mid="1", index=1)

    assert written.candidate == HOST
    assert (written.sdpMid, written.sdpMLineIndex) == ("1", 1)

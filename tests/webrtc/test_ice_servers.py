"""STUN and TURN servers as the server names them."""

import pytest

from camagent.signaling.messages import IceServer
from camagent.webrtc.ice_servers import MOST_SERVERS, StunServer, TurnServer, usable_servers


def test_relays_are_tried_udp_first() -> None:
    """Each URL stands alone, UDP before TCP before TLS, with its credentials and default ports."""
    servers = usable_servers(
        [
            IceServer(
                urls=("turns:t.example", "turn:t.example:80?transport=tcp", "turn:t.example"),
                username="u",
                credential="c",
            ),
            IceServer(urls=("stun:s.example", "stun:s.example:3479")),
        ]
    )

    assert servers.stun == (StunServer("s.example", 3478), StunServer("s.example", 3479))
    assert servers.turn == (
        TurnServer("t.example", 3478, "udp", "u", "c"),
        TurnServer("t.example", 80, "tcp", "u", "c"),
        TurnServer("t.example", 5349, "tls", "u", "c"),
    )


def test_a_credential_is_not_shown() -> None:
    """Neither by accident nor in a log."""
    (server,) = usable_servers([IceServer(urls="turn:t", username="u", credential="sesame")]).turn
    assert "sesame" not in f"{server!r} {server.name}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://a",
        "turn:",
        "stun:a:b:c",
        "stun:a?transport=udp",
        "stun:a:0",
        "stun:a:70000",
        "stuns:a",
        "turns:a?transport=udp",
        "turn:a?transport=sctp",
    ],
)
def test_a_url_of_no_use_is_skipped(url: str) -> None:
    """It costs only itself."""
    servers = usable_servers([IceServer(urls=url), IceServer(urls="stun:s.example")])
    assert (servers.stun, servers.turn) == ((StunServer("s.example", 3478),), ())


def test_what_is_named_twice_is_asked_once() -> None:
    """And there is a bound to how many are asked."""
    assert len(usable_servers([IceServer(urls=("stun:s", "stun:s"))]).stun) == 1
    many = [IceServer(urls=tuple(f"turn:t{n}" for n in range(16)))] * 2
    assert len(usable_servers(many).turn) == MOST_SERVERS

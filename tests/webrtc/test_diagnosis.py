"""Why a connection did not come up, in words."""

from dataclasses import replace

import pytest

from camagent.webrtc.diagnosis import Attempt
from camagent.webrtc.server_problem import Problem

NO_WAY = Attempt(
    stage="ice",
    ours=["host", "host"],
    theirs=["host", "srflx"],
    names=0,
    pairs=4,
    turn_servers=0,
    turn_problems=[],
    policy="all",
)


def test_everything_known_is_told() -> None:
    """The problem, the kinds each side had, how much was tried, and what to look at."""
    assert NO_WAY.told("ice did not finish within 15 s") == (
        "ice did not finish within 15 s; this device had host; the viewer had host, srflx; "
        "4 pairs were tried: no TURN server is set up at the relay, and two networks often reach "
        "each other through a TURN server only"
    )


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"theirs": []}, "browser sent no address"),
        ({"theirs": [], "names": 1}, "no TURN server is set up"),
        ({"turn_servers": 2}, "no TURN server answered this device"),
        ({"turn_servers": 1, "turn_problems": [Problem.CREDENTIAL]}, "refuses the username"),
        ({"ours": [], "policy": "relay", "turn_problems": [Problem.CREDENTIAL]}, "the same secret"),
        ({"ours": ["relay"], "turn_problems": [Problem.CREDENTIAL]}, "relay range"),
        ({"ours": ["relay"]}, "relay range"),
        ({"theirs": ["relay"]}, "relay range"),
        ({"ours": [], "theirs": [], "policy": "relay"}, "only TURN is allowed here"),
        ({"ours": [], "policy": "relay"}, "only TURN is allowed here"),
        ({"stage": "dtls"}, "handshake"),
    ],
)
def test_the_advice_fits(changes: dict[str, object], advice: str) -> None:
    """What to look at depends on what is missing."""
    attempt = replace(NO_WAY, **changes)  # type: ignore[arg-type]
    assert advice in attempt.advice
    assert attempt.told("x").count("had no candidate") == (
        [attempt.ours, attempt.theirs].count([]) - attempt.names
    )


def test_names_are_no_candidates_of_nobody() -> None:
    """A browser that hides its addresses sent something, which only its own network knows."""
    hidden = replace(NO_WAY, theirs=[], names=2)
    assert "the viewer had only names that nobody knows here;" in hidden.told("x")
    found = replace(NO_WAY, theirs=["prflx"], names=2)
    assert "the viewer had prflx;" in found.told("x")

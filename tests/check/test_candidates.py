"""The addresses that viewers are told, by settings and servers."""

from typing import Any

import pytest

from camagent.check.candidates import check_candidates
from camagent.check.findings import Verdict
from camagent.settings import Settings
from camagent.webrtc.probe import Probe

STUN = Probe("stun:s", 1, "sees us at 203.0.113.1 port 1", address="203.0.113.1")
TURN = Probe("turn:t", 1, "relays at 203.0.113.2 port 2", address="203.0.113.2")
DEAD = Probe("turns:t", 1, "no answer within 5 s")


def settings(**changes: Any) -> Settings:
    required: dict[str, Any] = {"device_id": "cam", "server_url": "ws://relay.example"}
    return Settings(**required, _env_file=None, **changes)


def test_each_kind_is_told(own_address: str) -> None:
    """Addresses of this machine, those that STUN servers see, and those of TURN servers."""
    finding = check_candidates(settings(), [STUN, TURN, TURN, DEAD])

    assert finding.verdict is Verdict.OK
    own, outside, relayed = finding.text.split("; ")
    assert own.startswith("viewers are told ")
    assert own_address in own
    assert own.endswith(" (its own)")
    assert (outside, relayed) == ("203.0.113.1 (as seen from outside)", "203.0.113.2 (relayed)")


def test_an_address_is_told_once(own_address: str) -> None:
    """Seen from outside as it is, it is no other address."""
    seen = Probe("stun:s", 1, "", address=own_address)
    assert "outside" not in check_candidates(settings(), [seen]).text


def test_excluded_networks_are_not_told(own_address: str) -> None:
    """The filter of the settings counts here as in a session."""
    finding = check_candidates(settings(ice_excluded_interfaces=f"{own_address}/32"), [TURN])
    assert own_address not in finding.text


def test_who_is_relayed_only_tells_nothing_else(own_address: str) -> None:
    """Neither own addresses nor those seen from outside."""
    finding = check_candidates(settings(ice_transport_policy="relay"), [STUN, TURN])

    assert finding.text == "viewers are told 203.0.113.2 (relayed)"
    assert own_address not in finding.text


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"ice_interfaces": "nothing0"}, "CAMAGENT_ICE_INTERFACES"),
        ({"ice_transport_policy": "relay"}, "needs a TURN server that answers"),
    ],
)
def test_a_device_without_any_address_fails(changes: dict[str, Any], fix: str) -> None:
    """What is in the way is told."""
    finding = check_candidates(settings(**changes), [DEAD])

    assert finding.verdict is Verdict.FAILED
    assert fix in str(finding.fix)

"""Which addresses this device has for viewers, by the settings and by what its servers told."""

from collections.abc import Iterable, Sequence

from camagent.check.findings import Finding, Verdict
from camagent.check.ice import is_turn
from camagent.settings import Settings
from camagent.webrtc.interfaces import own_addresses
from camagent.webrtc.probe import Probe
from camagent.wiring import interface_filter

CANDIDATES = "candidates"
_FIXES = {
    "all": "connect it to a network; or let CAMAGENT_ICE_INTERFACES and "
    "CAMAGENT_ICE_EXCLUDED_INTERFACES take one of its addresses",
    "relay": "CAMAGENT_ICE_TRANSPORT_POLICY=relay needs a TURN server that answers",
}


def check_candidates(settings: Settings, probes: Sequence[Probe]) -> Finding:
    """Tell the candidates of each kind, as a session would find them now."""
    told = {"relayed": _addresses(probe for probe in probes if is_turn(probe))}
    if settings.ice_transport_policy == "all":
        own = own_addresses(interface_filter(settings))
        seen = _addresses(probe for probe in probes if not is_turn(probe))
        outside = [address for address in seen if address not in own]
        told = {"its own": own, "as seen from outside": outside} | told
    listed = [f"{', '.join(addresses)} ({kind})" for kind, addresses in told.items() if addresses]
    if listed:
        return Finding(CANDIDATES, Verdict.OK, f"viewers are told {'; '.join(listed)}")
    text = "this device has no address to tell viewers"
    return Finding(CANDIDATES, Verdict.FAILED, text, _FIXES[settings.ice_transport_policy])


def _addresses(probes: Iterable[Probe]) -> list[str]:
    return list(dict.fromkeys(probe.address for probe in probes if probe.address is not None))

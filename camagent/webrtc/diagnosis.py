"""Why a peer connection did not come up, and what to look at: in one sentence. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from camagent.webrtc.server_problem import Problem

_WHAT_TURN_IS_FOR = "two networks often reach each other through a TURN server only"


@dataclass(frozen=True)
class Attempt:
    """What was tried.

    Attributes:
        stage: what did not finish: `gather`, `ice` or `dtls`.
        ours: kinds of candidates that this device had: host, srflx, relay.
        theirs: kinds that the viewer had; prflx are those found on the way.
        names: how many candidates of the viewer were names, which other networks do not know.
        pairs: how many ways were tried.
        turn_servers: how many were named to this device.
        turn_problems: why some of them were of no use.
        policy: `relay` if nothing else was allowed.
    """

    stage: str
    ours: Sequence[str]
    theirs: Sequence[str]
    names: int
    pairs: int
    turn_servers: int
    turn_problems: Sequence[Problem]
    policy: str

    def told(self, problem: str) -> str:
        """Say `problem`, what each side had, and what to check."""
        words = [
            problem,
            f"this device had {_list(self.ours)}",
            f"the viewer had {self._theirs}",
            f"{self.pairs} {'pair was' if self.pairs == 1 else 'pairs were'} tried",
        ]
        return f"{'; '.join(words)}: {self.advice}"

    @property
    def advice(self) -> str:
        """What to look at first."""
        if self.stage == "dtls":
            return "packets pass, the handshake does not: another try may do"
        if self.policy == "relay" and "relay" not in self.ours:
            return self._turn_advice
        if not self.theirs and not self.names:
            return "the viewer's browser sent no address; does a policy or extension forbid WebRTC?"
        if "relay" in self.ours or ("relay" in self.theirs and self.policy == "all"):
            return "the relayed way does not work either; is the TURN server's relay range open?"
        return self._turn_advice

    @property
    def _theirs(self) -> str:
        if self.names and not self.theirs:
            return "only names that nobody knows here"
        return _list(self.theirs)

    @property
    def _turn_advice(self) -> str:
        """What to look at when this device has no relayed candidate."""
        if Problem.CREDENTIAL in self.turn_problems:
            return (
                "the TURN server refuses the username and credential that this device was given; "
                "do relay and TURN server have the same secret and the right time?"
            )
        if self.policy == "relay":
            return "only TURN is allowed here, and no TURN server answered; try camagent check"
        if self.turn_servers:
            return "no TURN server answered this device; try camagent check"
        return f"no TURN server is set up at the relay, and {_WHAT_TURN_IS_FOR}"


def _list(kinds: Sequence[str]) -> str:
    return ", ".join(sorted(set(kinds))) or "no candidate"

"""ICE that trickles (RFC 8838): host candidates at once, the others as their servers answer.

aioice gathers from one STUN and one TURN server, and holds everything back until the last of them
has answered or five seconds are over. Here a server that is dead delays nothing: the answer leaves
with the host candidates, and what is found later follows.

    host ───────────────► answer
    server-reflexive ─────────► as each STUN server answers
    relayed ──────────────────► UDP first, TCP and TLS a little later, the first that works wins

This is aioice's connection with another way to gather; its private names are used for that, and
are tried by test_contract.py.
"""

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from aioice import Candidate, TransportPolicy
from aioice.ice import (
    CandidatePair,
    StunProtocol,
    relayed_candidate,
    server_reflexive_candidate,
)
from aioice.mdns import is_mdns_hostname
from aioice.stun import Message, TransactionError
from aiortc import RTCIceTransport

from camagent.webrtc.consent import Consent
from camagent.webrtc.guarding import GuardedConnection
from camagent.webrtc.ice_servers import IceServers, StunServer, TurnServer
from camagent.webrtc.interfaces import InterfaceFilter, own_addresses
from camagent.webrtc.relays import GIVE_BACK_DEADLINE_S, Asked, abandon, call_off
from camagent.webrtc.server_problem import Problem, explain

log = structlog.get_logger(__name__)

Announce = Callable[[Candidate], None]

_SERVER_DEADLINE_S = 5.0
_BETWEEN_RELAYS_S = 0.4
_BETWEEN_CHECKS_S = 0.02
_COMPONENT = 1
# KeyError: an answer without our address in it.
_UNUSABLE = (KeyError, OSError, TransactionError, ValueError)
_UNTRIED = frozenset({CandidatePair.State.FROZEN, CandidatePair.State.WAITING})


class TricklingConnection(GuardedConnection):
    """An ICE connection that goes on looking for candidates while it connects.

    Never made as such: `trickle` turns a new connection of aiortc's into one.
    """

    servers: IceServers
    interfaces: InterfaceFilter
    is_gathering: bool
    checks: dict[CandidatePair, Message]
    news: asyncio.Event
    """Set when there may be something to check, or nothing to wait for any more."""
    turn_problems: list[Problem]
    """What each TURN server was of no use for; those still being asked are not among them."""
    names = 0
    """How many of the viewer's candidates were names, which multicast DNS has to find."""
    consent = Consent()
    patience_s = 5.0
    """How long the viewer's checks are waited for when nothing else can be expected."""

    async def gather_candidates(self) -> None:
        """Find the host candidates; the others are `find_more`'s."""
        if self._local_candidates_start:
            return
        self._local_candidates_start = True
        if self._transport_policy == TransportPolicy.ALL:
            addresses = own_addresses(self.interfaces)
            self._local_candidates += await self.get_component_candidates(_COMPONENT, addresses)
        self._local_candidates_end = True

    async def connect(self) -> None:
        """Connect, and be through as soon as a way is found.

        aioice looks every 20 ms what has come of its checks. Here it is called once there is
        something to check, paces the checks beside that, and waits for their outcome.

        A viewer none of whose candidates is of use here may still find us by its own checks, which
        come once it knows the last of ours (RFC 8863).
        """
        while self._has_nothing_to_check and self._remote_candidates_expected():
            await self._next_news()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.patience_s):
                while self._has_nothing_to_check:
                    await self._next_news()
        await super().connect()

    async def add_remote_candidate(self, remote_candidate: Candidate | None) -> None:
        """Add one of the viewer's candidates, or None when there are no more."""
        if remote_candidate is not None and is_mdns_hostname(remote_candidate.host):
            self.names += 1
        try:
            await super().add_remote_candidate(remote_candidate)
        finally:
            self.news.set()

    def request_received(
        self, message: Message, addr: tuple[str, int], protocol: StunProtocol
    ) -> None:
        """Hear of a check of the viewer's."""
        super().request_received(message, addr, protocol)
        self.news.set()

    async def find_more(self, announce: Announce) -> None:
        """Ask every STUN and TURN server, and `announce` each candidate as it comes.

        Returns when there will be no more. May be cancelled at any time.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for protocol in tuple(self._protocols):
                    if not protocol.local_candidate.host.count(":"):
                        for server in self.servers.stun:
                            tasks.create_task(self._ask_stun(protocol, server, announce))
                tasks.create_task(self._find_relay(announce))
        finally:
            self.is_gathering = False
            self.news.set()
            if self._early_checks_done and not self._check_list_done:
                self._check_list_maybe_fail()

    def checked_pairs(self) -> list[CandidatePair]:
        """List the ways that were tried, whatever came of it."""
        return [pair for pair in self._check_list if pair.state not in _UNTRIED]

    async def close(self) -> None:
        """Close every socket within moments, also when a relay's server no longer answers.

        aioice would ask that server for a minute to take its relay back.
        """
        self.news.set()
        relays = [one for one in self._protocols if one.local_candidate.type == "relay"]
        for relay in relays:
            relay.transport.close()
        giving_up = asyncio.get_running_loop().call_later(GIVE_BACK_DEADLINE_S, abandon, relays)
        try:
            await super().close()
        finally:
            giving_up.cancel()

    async def query_consent(self) -> None:
        """Close once the viewer's consent to be sent to has expired."""
        await self.consent.expired(self)
        self._query_consent_task = None
        await self.close()

    def build_request(self, pair: CandidatePair, nominate: bool) -> Message:  # noqa: FBT001 - aioice's
        """Make a check, and remember it for `check_incoming`."""
        self.checks[pair] = super().build_request(pair, nominate)
        return self.checks[pair]

    def check_incoming(
        self, message: Message, addr: tuple[str, int], protocol: StunProtocol
    ) -> None:
        """Answer a check by one of our own (RFC 8445, section 7.3.1.4).

        Routers and relays let nothing in until something went out: our first check is lost where
        the viewer's was not on its way yet. aioice repeats it after half a second, we do now.
        """
        super().check_incoming(message, addr, protocol)
        for pair, check in self.checks.items():
            is_its_own = pair.protocol is protocol and pair.remote_addr == addr
            if is_its_own and pair.state is CandidatePair.State.IN_PROGRESS:
                protocol.send_stun(check, addr)

    @property
    def _has_nothing_to_check(self) -> bool:
        return not (self._check_list or self._early_checks or self._closing)

    async def _next_news(self) -> None:
        self.news.clear()
        await self.news.wait()

    def _prune_components(self) -> None:
        """Keep the only component, also where the viewer has no candidate of it yet."""

    def _check_periodic(self) -> bool:
        """Begin a check now and others later; false lets `connect` wait for what comes of them."""
        goes_on = super()._check_periodic()
        if not self._check_list:
            return goes_on
        if goes_on:
            asyncio.get_running_loop().call_later(_BETWEEN_CHECKS_S, self._check_periodic)
        return False

    def _remote_candidates_expected(self) -> bool:
        """Keep on checking while there may be more pairs, whichever side they come from."""
        return self.is_gathering or super()._remote_candidates_expected()

    async def _ask_stun(
        self, protocol: StunProtocol, server: StunServer, announce: Announce
    ) -> None:
        address = (server.host, server.port)
        try:
            async with asyncio.timeout(_SERVER_DEADLINE_S):
                candidate, _ = await server_reflexive_candidate(protocol, address)
        except _UNUSABLE as error:
            _, text = explain(error, deadline_s=_SERVER_DEADLINE_S)
            log.info("ice.stun_failed", server=f"{server.host}:{server.port}", problem=text)
            return
        is_new = all(
            (known.host, known.port) != (candidate.host, candidate.port)
            for known in self._local_candidates
        )
        if is_new and not self._closing:
            self._local_candidates.append(candidate)
            announce(candidate)

    async def _find_relay(self, announce: Announce) -> None:
        """Ask the TURN servers one after the other, without waiting for the one before to fail."""
        untried = list(self.servers.turn)
        asked: set[Asked] = set()
        try:
            while untried or asked:
                if untried:
                    asked.add(asyncio.ensure_future(self._allocate(untried.pop(0))))
                within_s = _BETWEEN_RELAYS_S if untried else None
                answered, asked = await asyncio.wait(
                    asked, timeout=within_s, return_when=asyncio.FIRST_COMPLETED
                )
                relays = [relay for task in answered if (relay := task.result()) is not None]
                if relays:
                    self._add_relay(relays.pop(), announce)
                    for other in relays:
                        other.transport.close()
                    return
        finally:
            await call_off(asked)

    async def _allocate(self, server: TurnServer) -> StunProtocol | None:
        try:
            async with asyncio.timeout(_SERVER_DEADLINE_S):
                _, protocol = await relayed_candidate(
                    component=_COMPONENT,
                    hide_related_address=self._transport_policy == TransportPolicy.RELAY,
                    protocol_factory=lambda: StunProtocol(self),
                    turn_server=(server.host, server.port),
                    turn_username=server.username,
                    turn_password=server.credential,
                    turn_ssl=server.transport == "tls",
                    turn_transport="udp" if server.transport == "udp" else "tcp",
                )
        except _UNUSABLE as error:
            problem, text = explain(error, deadline_s=_SERVER_DEADLINE_S)
            self.turn_problems.append(problem)
            log.warning("ice.turn_failed", server=server.name, problem=text)
            return None
        return protocol

    def _add_relay(self, protocol: StunProtocol, announce: Announce) -> None:
        if self._closing or self._check_list_done:
            protocol.transport.close()
            return
        self._protocols.append(protocol)
        self._local_candidates.append(protocol.local_candidate)
        for remote in self._remote_candidates:
            self._pair_remote_candidate(remote)
        self.sort_check_list()
        self.news.set()
        announce(protocol.local_candidate)


def trickle(
    transport: RTCIceTransport, servers: IceServers, interfaces: InterfaceFilter
) -> TricklingConnection:
    """Let a transport that has not gathered yet trickle; aiortc must know of no server."""
    connection = transport._connection  # noqa: SLF001 - contract test
    connection.__class__ = TricklingConnection
    assert isinstance(connection, TricklingConnection), "made one just now"
    connection.servers, connection.interfaces = servers, interfaces
    connection.is_gathering, connection.turn_problems, connection.checks = True, [], {}
    connection.news = asyncio.Event()
    return connection

"""One RTCPeerConnection made awaitable: gather, answer, connect, and hear of its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from aioice import Candidate
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceTransport,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidStateError, OperationError
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.rtcicetransport import candidate_from_aioice

from camagent.errors import ConnectFailed, NegotiationFailed, ViewerLost
from camagent.signaling.messages import IceCandidate
from camagent.webrtc.codecs import h264_capabilities
from camagent.webrtc.diagnosis import Attempt
from camagent.webrtc.gathering import trickle
from camagent.webrtc.ice import to_aiortc, to_wire
from camagent.webrtc.ice_servers import IceServers
from camagent.webrtc.interfaces import InterfaceFilter
from camagent.webrtc.negotiated import PLAYOUT_DELAY_URI
from camagent.webrtc.sdp import ViewerOffer, with_extension, with_level, with_media_clock
from camagent.webrtc.sending import Sender

IcePolicy = Literal["all", "relay"]

_OVER = frozenset({"failed", "closed"})
_CLOSE_DEADLINE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class PeerOptions:
    """What all peer connections of a device have in common.

    Attributes:
        policy: `relay` uses TURN only and shows no other address.
        interfaces: the addresses of this machine that viewers are told.
        level: the H.264 level of the stream, such as `3.1`.
        asks_to_show_at_once: browsers that can are asked to show pictures as they come, unsmoothed.
        prefers_gcm: this processor encrypts AES-GCM faster than AES-CM with SHA1.
    """

    policy: IcePolicy = "all"
    interfaces: InterfaceFilter = field(default_factory=InterfaceFilter)
    level: str = "3.1"
    asks_to_show_at_once: bool = True
    prefers_gcm: bool = False


class Peer:
    """The peer connection of one viewer. Made by `open_peer`; every method may fail as told.

    Candidates may be added only after `answer`.
    """

    def __init__(
        self,
        connection: RTCPeerConnection,
        sender: Sender,
        servers: IceServers,
        options: PeerOptions,
    ) -> None:
        self._connection = connection
        self._video = sender
        self._options = options
        self._moved = asyncio.Event()
        self._offer: ViewerOffer | None = None
        self._is_answered = False
        self._late_start: asyncio.Future[None] | None = None
        connection.on("connectionstatechange", self._moved.set)
        connection.on("iceconnectionstatechange", self._moved.set)
        transceiver = sender.add_to(connection)
        transceiver.setCodecPreferences(h264_capabilities())
        self._sender = transceiver.sender
        self._trickling = trickle(self._ice, servers, options.interfaces)
        self._servers = servers
        self._found: asyncio.Queue[Candidate | None] = asyncio.Queue()
        # No child of a task group: cancelled half-way, aioice would leave its sockets open.
        self._gathering = asyncio.ensure_future(self._ice.iceGatherer.gather())

    async def gathered(self) -> None:
        """Wait until the addresses of this machine are found, which `answer` needs."""
        await asyncio.shield(self._gathering)

    async def find_candidates(self) -> None:
        """Find all of our candidates, for `next_candidate`; returns when there are no more.

        Cancelled, there are no more either.
        """
        try:
            await self.gathered()
            for candidate in self._trickling.local_candidates:
                self._note(candidate)
            await self._trickling.find_more(self._note)
        finally:
            self._found.put_nowait(None)
            self._moved.set()

    def _note(self, candidate: Candidate) -> None:
        self._found.put_nowait(candidate)
        if self._is_answered and self._ice.state == "new":
            # aiortc does not start without a candidate of ours, and does not look again by itself.
            connect = self._connection._RTCPeerConnection__connect  # type: ignore[attr-defined]  # noqa: SLF001
            self._late_start = asyncio.ensure_future(connect())

    async def next_candidate(self) -> IceCandidate | None:
        """Wait for the next of our candidates, as the viewer's browser knows their section.

        None when there are no more. To be called after `answer`.
        """
        assert self._offer is not None, "candidates are told after the answer"
        found = await self._found.get()
        if found is None:
            return None
        mid, index = self._offer.video.mid, self._offer.video_index
        return to_wire(candidate_from_aioice(found), mid=mid, index=index)

    async def answer(self, offer: ViewerOffer) -> str:
        """Accept the viewer's offer and write the answer, with what candidates there are by now.

        Raises:
            NegotiationFailed: the offer cannot be used; the text says why.
        """
        self._offer = offer
        if self._options.prefers_gcm and not offer.is_passive:
            # The server of the DTLS handshake chooses the cipher, and Chromium would choose SHA1.
            self._sender.transport._set_role("server")  # noqa: SLF001 - contract test
        try:
            await self._connection.setRemoteDescription(
                RTCSessionDescription(sdp=offer.narrowed(), type="offer")
            )
            await self._connection.setLocalDescription()
            self._is_answered = True
        except OperationError as error:
            raise NegotiationFailed(
                "the offer has no H.264 constrained baseline with packetization mode 1"
            ) from error
        except (
            AssertionError,
            AttributeError,
            IndexError,
            InternalError,
            InvalidStateError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            # aiortc's reader of SDP trusts its input; whatever trips it is the offer's fault.
            raise NegotiationFailed(f"the offer cannot be read: {error}") from error
        answer = with_level(self._connection.localDescription.sdp, self._options.level)
        # aiortc takes the host candidates for all there are.
        answer = answer.replace("a=end-of-candidates\r\n", "")
        answer = with_media_clock(answer, self._video.media_clock_offset)
        return offer.widened(self._with_playout_delay(answer, offer))

    def _with_playout_delay(self, answer: str, offer: ViewerOffer) -> str:
        """Accept that header extension, which aiortc does not know, if it is wanted."""
        extension_id = offer.extension_id(PLAYOUT_DELAY_URI)
        if extension_id is None or not self._options.asks_to_show_at_once:
            return answer
        if not self._video.agree_playout_delay(extension_id):
            return answer
        return with_extension(answer, extension_id, PLAYOUT_DELAY_URI)

    async def add_candidate(self, candidate: IceCandidate | None) -> None:
        """Add one of the viewer's candidates, or None when there are no more.

        Raises:
            NegotiationFailed: the candidate cannot be read, or not be used here.
        """
        assert self._offer is not None, "candidates wait for the offer"
        read = to_aiortc(candidate, mid=self._offer.video.mid) if candidate else None
        try:
            await self._connection.addIceCandidate(read)
        except (OSError, ValueError) as error:
            # OSError: its name asks for multicast DNS, and this network has no multicast.
            raise NegotiationFailed(f"a candidate cannot be used: {error}") from error

    async def reached(self) -> None:
        """Wait until ICE has found a way to the viewer; fails as `connected` does."""
        while self._ice.state != "completed":
            await self._next_move_up()

    async def connected(self) -> None:
        """Wait until media can flow.

        Raises:
            ConnectFailed: ICE or DTLS gave up.
        """
        while self._connection.connectionState != "connected":
            await self._next_move_up()

    async def lost(self) -> NoReturn:
        """Wait for the end of the connection, which is an error whoever caused it.

        Raises:
            ViewerLost: `failed` or `closed`, which differ only in who noticed.
        """
        while self._connection.connectionState not in _OVER:
            await self._next_move()
        raise ViewerLost(f"the peer connection is {self._connection.connectionState}")

    @property
    def stage(self) -> str:
        """What a connection that is not up yet is waiting for: `gather`, `ice` or `dtls`."""
        if self._ice.iceGatherer.state != "completed":
            return "gather"
        return "dtls" if self._ice.state == "completed" else "ice"

    def told(self, problem: str) -> str:
        """Say `problem`, and all that is known of why the connection did not come up."""
        attempt = Attempt(
            stage=self.stage,
            ours=[one.type for one in self._trickling.local_candidates],
            theirs=[one.type for one in self._trickling.remote_candidates],
            names=self._trickling.names,
            pairs=len(self._trickling.checked_pairs()),
            turn_servers=len(self._servers.turn),
            turn_problems=self._trickling.turn_problems,
            policy=self._options.policy,
        )
        return attempt.told(problem)

    def pair_type(self) -> str | None:
        """Tell how media flows, by our candidate's type and the viewer's: `host/srflx`."""
        # aiortc tells nothing about the chosen pair. Contract test: test_contract.py.
        pair = self._ice._connection._nominated.get(1)  # noqa: SLF001
        if pair is None:
            return None
        return f"{pair.local_candidate.type}/{pair.remote_candidate.type}"

    async def close(self) -> None:
        """Close, which may take up to two seconds when a TURN server has gone."""
        await asyncio.wait([self._gathering])
        await self._connection.close()

    @property
    def _is_out_of_reach(self) -> bool:
        """True if this device has no candidate and will get none."""
        return not self._trickling.is_gathering and not self._trickling.local_candidates

    @property
    def _ice(self) -> RTCIceTransport:
        return self._sender.transport.transport

    async def _next_move_up(self) -> None:
        if self._connection.connectionState in _OVER or self._is_out_of_reach:
            raise ConnectFailed(self.told(f"{self.stage} failed"))
        await self._next_move()

    async def _next_move(self) -> None:
        self._moved.clear()
        await self._moved.wait()


@asynccontextmanager
async def open_peer(
    sender: Sender, *, servers: IceServers, options: PeerOptions
) -> AsyncIterator[Peer]:
    """Hold a peer connection whose video `sender` sends.

    aiortc is told of no ICE server, and explicitly so, for it has a public one as default: it would
    wait for each. They are asked beside it.
    """
    connection = RTCPeerConnection(
        RTCConfiguration(
            iceServers=[],
            iceTransportPolicy=RTCIceTransportPolicy(options.policy),
            bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
        )
    )
    peer = Peer(connection, sender, servers, options)
    try:
        yield peer
    finally:
        sender.stop()
        await _finish(asyncio.ensure_future(peer.close()))


async def warm_up(sender: Sender) -> None:
    """Open and close one connection: the first in a process is the slow one."""
    async with open_peer(sender, servers=IceServers(), options=PeerOptions()) as peer:
        await peer.gathered()


async def _finish(closing: asyncio.Future[None]) -> None:
    """Wait for `closing`; when we are stopped meanwhile, a little longer, or sockets stay open."""
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait([closing], timeout=_CLOSE_DEADLINE_S)
        raise

"""How a viewer's encrypted packets leave this machine, the cheapest way that its path allows.

    one call per run (UDP segmentation offload)
      └─ refused ──► one call per packet
    through TURN ──► the allocation's channel, written directly once it is bound
    anything else ─► what the ICE transport itself would do

Private names of aioice are used here and guarded: without them the last way is taken.
"""

import contextlib
import errno
import socket
import struct
import time
from typing import Any, Protocol

import structlog

from camagent.webrtc.layout import Run

log = structlog.get_logger(__name__)

_UDP_SEGMENT = 103
"""SOL_UDP option (linux/udp.h): cut what one call hands over into datagrams of this size."""

_SEGMENT_SIZE = struct.Struct("=H")
_CHANNEL_HEADER = struct.Struct("!HH")
_OFFLOAD_REFUSED = frozenset(
    {errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
)
_MOST_BYTES_WAITING = 256_000
"""What TURN over TCP may have waiting to be sent: about a second at 2 Mbps."""


class WireFull(Exception):
    """The socket takes no more now; what it was to take is lost."""


class Wire(Protocol):
    """A way out."""

    def send(self, memory: memoryview, run: Run) -> None:
        """Send the packets of `run`, encrypted at the beginning of `memory`; returns at once.

        Raises:
            WireFull: some of them were not sent.
            OSError: there is no way to the viewer at the moment.
        """

    def close(self) -> None:
        """Give back what it holds; the ICE transport stays open."""


class Datagrams:
    """Straight to the viewer's address."""

    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self._socket = sock
        self._address = address
        self._offloads = True

    def send(self, memory: memoryview, run: Run) -> None:
        """Send the packets of `run`; see `Wire`."""
        try:
            if len(run.places) > 1:
                self._send_many(memory, run)
            else:
                self._socket.sendto(memory[: len(run.data)], self._address)
        except BlockingIOError as error:
            raise WireFull from error

    def close(self) -> None:
        """Close our copy of the socket."""
        self._socket.close()

    def _send_many(self, memory: memoryview, run: Run) -> None:
        if self._offloads:
            size = _SEGMENT_SIZE.pack(run.segment_bytes)
            try:
                self._socket.sendmsg(
                    (memory[: len(run.data)],),
                    ((socket.IPPROTO_UDP, _UDP_SEGMENT, size),),
                    0,
                    self._address,
                )
            except BlockingIOError:
                raise
            except OSError as error:
                if error.errno not in _OFFLOAD_REFUSED:
                    raise
                self._offloads = False
                log.info("wire.without_offload", cause=str(error))
            else:
                return
        for start in range(0, len(run.data), run.segment_bytes):
            end = min(start + run.segment_bytes, len(run.data))
            self._socket.sendto(memory[start:end], self._address)


class Channel:
    """Through a TURN allocation, without the task that aioice makes for each packet."""

    def __init__(self, transport: Any, address: tuple[str, int]) -> None:
        self._transport = transport
        self._allocation = transport._TurnTransport__inner_protocol  # noqa: SLF001
        self._address = address

    def send(self, memory: memoryview, run: Run) -> None:
        """Send the packets of `run`; see `Wire`."""
        allocation = self._allocation
        inner = allocation.transport
        if inner.get_write_buffer_size() > _MOST_BYTES_WAITING:
            raise WireFull
        channel = allocation.peer_to_channel.get(self._address)
        # Binding a channel, and binding it anew in time, is aioice's business.
        is_bound = channel is not None and time.time() < allocation.channel_refresh_at[channel]
        for packet in _packets(memory, run):
            if is_bound:
                allocation._send(_CHANNEL_HEADER.pack(channel, len(packet)) + packet)  # noqa: SLF001
            else:
                self._transport.sendto(packet, self._address)

    def close(self) -> None:
        """Nothing: the allocation belongs to the ICE transport."""


class Unusual:
    """By the ICE transport's own means."""

    def __init__(self, transport: Any, address: tuple[str, int]) -> None:
        self._transport = transport
        self._address = address

    def send(self, memory: memoryview, run: Run) -> None:
        """Send the packets of `run`; see `Wire`."""
        for packet in _packets(memory, run):
            self._transport.sendto(packet, self._address)

    def close(self) -> None:
        """Nothing: the transport belongs to the ICE transport."""


def wire_of(pair: Any) -> Wire:
    """Choose the way for a candidate pair of aioice."""
    transport, address = pair.protocol.transport, pair.remote_addr
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.type == socket.SOCK_DGRAM:
        # A copy: asyncio's own wants to be asked for nothing but its address.
        return Datagrams(sock.dup(), address)
    with contextlib.suppress(AttributeError):
        channel = Channel(transport, address)
        # Asked for once, so that a changed aioice is noticed here.
        _ = channel._allocation.peer_to_channel, channel._allocation.channel_refresh_at  # noqa: SLF001
        return channel
    log.info("wire.unusual", transport=type(transport).__name__)
    return Unusual(transport, address)


def _packets(memory: memoryview, run: Run) -> list[bytes]:
    """Copy the encrypted packets out of the scratch memory."""
    size, end = run.segment_bytes, len(run.data)
    return [bytes(memory[start : min(start + size, end)]) for start in range(0, end, size)]

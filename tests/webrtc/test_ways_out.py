"""Each way a packet can leave: offloaded, one by one, through TURN; each cipher; and a full socket."""

import errno
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from structlog.testing import capture_logs

from camagent.webrtc.layout import Run
from camagent.webrtc.packing import Packing
from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.sender import VideoSender
from camagent.webrtc.wire import Channel, Datagrams, WireFull
from server_stub.turn import IceServers
from tests.coturn import coturn
from tests.support import until
from tests.webrtc.reel import Reel, options_of, recorded, showing
from tests.webrtc.viewers import Viewer, served, viewer

SO_NO_CHECK = 11
"""Without a checksum the kernel refuses to cut packets (linux/udp.c)."""

SMALL = options_of(320, 240, bitrate_bps=500_000)
TURN_SECRET = "shared with the TURN server"


@asynccontextmanager
async def small_reel() -> AsyncIterator[Reel]:
    async with showing(await recorded(SMALL, frames=15)) as reel:
        yield reel


def new_sender(_reel: Reel) -> VideoSender:
    return VideoSender(Packing())


async def decode(one: Viewer, pictures: int) -> None:
    for _ in range(pictures):
        picture = await one.picture()
        assert (picture.width, picture.height) == (SMALL.width_px, SMALL.height_px)


def wire_of_live(sender: VideoSender) -> Any:
    assert sender._outgoing is not None
    return sender._outgoing._current_wire()


def run_of(*packets: bytes) -> Run:
    places = tuple((index * len(packets[0]), len(one)) for index, one in enumerate(packets))
    return Run(b"".join(packets), places, len(packets[0]))


class Counting(socket.socket):
    """A socket that counts the calls that send."""

    calls = 0

    def sendmsg(self, *arguments: Any) -> int:
        self.calls += 1
        return super().sendmsg(*arguments)

    def sendto(self, *arguments: Any) -> int:
        self.calls += 1
        return super().sendto(*arguments)


class Refusing(socket.socket):
    """A kernel that has never heard of offload, or a card that fails at it."""

    error = errno.EIO

    def sendmsg(self, *_: Any) -> int:
        raise OSError(self.error, "refused")


class Receiver:
    """A UDP socket, with a wire to it that starts at a socket of the `kind` given."""

    def __init__(self, kind: type[Any] = socket.socket) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(1)
        self.sending = kind(socket.AF_INET, socket.SOCK_DGRAM)
        self.wire = Datagrams(self.sending, self.socket.getsockname())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()
        self.socket.close()

    def packets(self, count: int) -> list[bytes]:
        return [self.socket.recv(2_000) for _ in range(count)]


PACKETS = (b"a" * 900, b"b" * 900, b"c" * 900, b"d" * 5)


def send(receiver: Receiver, *packets: bytes) -> None:
    run = run_of(*packets)
    receiver.wire.send(memoryview(bytearray(run.data)), run)


def test_one_call_sends_a_run() -> None:
    """The kernel cuts what it is handed into the packets that were laid out, the short last one too."""
    with Receiver(Counting) as receiver:
        send(receiver, *PACKETS)

        assert receiver.packets(4) == list(PACKETS)
        assert receiver.sending.calls == 1


def test_without_offload_packets_leave_one_by_one() -> None:
    """A kernel that refuses is not asked again, which is told once; nothing is lost by it."""
    with Receiver() as receiver, capture_logs() as logs:
        receiver.sending.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        for _ in range(3):
            send(receiver, *PACKETS)

        assert receiver.packets(12) == 3 * list(PACKETS)
    assert [line["event"] for line in logs] == ["wire.without_offload"]


@pytest.mark.parametrize("error", [errno.EIO, errno.EINVAL, errno.ENOPROTOOPT])
def test_every_refusal_is_understood(error: int) -> None:
    """Kernels refuse in different words."""
    with Receiver(Refusing) as receiver:
        receiver.sending.error = error
        send(receiver, *PACKETS)

        assert receiver.packets(4) == list(PACKETS)


def test_no_way_is_no_refusal() -> None:
    """That a network is away says nothing of offload: that run is lost, the next is offloaded."""
    with Receiver(Refusing) as receiver:
        receiver.sending.error = errno.ENETUNREACH
        with pytest.raises(OSError, match="refused"):
            send(receiver, *PACKETS)

        assert receiver.wire._offloads


async def test_a_viewer_sees_what_leaves_one_by_one() -> None:
    """Refused in mid-stream, offload is gone and the picture goes on without a keyframe."""
    async with small_reel() as reel, viewer() as one:
        sender = new_sender(reel)
        async with served(one, reel, sender=sender):
            await decode(one, 5)
            before = reel.hub.keyframes_forced
            wire_of_live(sender)._socket.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
            await until(lambda: not wire_of_live(sender)._offloads)
            await decode(one, 20)

            assert sender.tally.frames_dropped <= 1
            assert reel.hub.keyframes_forced == before


class Full:
    """A wire whose socket takes nothing, so many times; then it is the one it stands for."""

    def __init__(self, wire: Any, *, times: int) -> None:
        self._wire = wire
        self.times = times

    def send(self, memory: memoryview, run: Run) -> None:
        if self.times > 0:
            self.times -= 1
            raise WireFull
        self._wire.send(memory, run)

    def close(self) -> None:
        self._wire.close()


async def test_a_full_socket_is_its_viewer_s_own_trouble() -> None:
    """Its viewer starts again at a keyframe; another sees every frame."""
    async with small_reel() as reel, viewer() as unlucky, viewer() as lucky:
        dropping, sending = new_sender(reel), new_sender(reel)
        async with served(unlucky, reel, sender=dropping), served(lucky, reel, sender=sending):
            await decode(unlucky, 5)
            await decode(lucky, 5)
            reel.is_held = True
            before = dropping.tally.frames_dropped, sending.tally.frames_dropped
            keyframes = dropping.tally.keyframes
            full = Full(wire_of_live(dropping), times=1)
            dropping._outgoing._wire = full
            reel.is_held = False
            await until(lambda: full.times == 0)
            await until(lambda: dropping.tally.keyframes > keyframes)
            await decode(unlucky, 10)
            await decode(lucky, 10)

            assert dropping.tally.frames_dropped > before[0]
            assert sending.tally.frames_dropped == before[1]


@pytest.mark.parametrize(
    ("prefers_gcm", "viewer_takes", "expected"),
    [
        (True, None, b"SRTP_AEAD_AES_256_GCM"),
        (False, b"SRTP_AES128_CM_SHA1_80", b"SRTP_AES128_CM_SHA1_80"),
        (True, b"SRTP_AES128_CM_SHA1_80", b"SRTP_AES128_CM_SHA1_80"),
        (True, b"SRTP_AEAD_AES_128_GCM", b"SRTP_AEAD_AES_128_GCM"),
    ],
)
async def test_every_cipher_carries_the_picture(
    *, prefers_gcm: bool, viewer_takes: bytes | None, expected: bytes
) -> None:
    """Whichever of the three the two agree on, pictures decode."""
    async with small_reel() as reel, viewer() as one:
        dtls = one.connection.getTransceivers()[0].receiver.transport
        if viewer_takes is not None:
            dtls._srtp_profiles = [
                profile
                for profile in dtls._srtp_profiles
                if profile.openssl_profile == viewer_takes
            ]
        options = PeerOptions(prefers_gcm=prefers_gcm)
        async with served(one, reel, options=options):
            await decode(one, 5)

            assert dtls._ssl.get_selected_srtp_profile() == expected


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_relayed_viewer_gets_its_pictures(
    transport: str,
    program: Callable[[str, str], str],
    own_address: str,
    tmp_path: Path,
) -> None:
    """Through TURN media takes the bound channel, without a task for each packet."""
    turnserver = program("turnserver", "coturn")
    async with coturn(turnserver, own_address, TURN_SECRET, tmp_path) as url:
        urls = (url.replace("transport=udp", f"transport={transport}"),)
        servers = IceServers(turn_urls=urls, secret=TURN_SECRET, valid_for_s=60)
        async with small_reel() as reel, viewer() as one:
            sender = new_sender(reel)
            async with served(
                one,
                reel,
                sender=sender,
                options=PeerOptions(policy="relay"),
                ice_servers=servers.for_device("s", now_s=time.time()),
            ) as service:
                await decode(one, 5)
                wire = wire_of_live(sender)
                assert isinstance(wire, Channel)
                assert repr(wire._allocation) == f"turn/{transport}"
                wire._transport = None  # from here on it would fail
                await decode(one, 20)

                assert service.session.ledger.pair_type.startswith("relay/")
                assert sender.tally.frames_dropped <= 1

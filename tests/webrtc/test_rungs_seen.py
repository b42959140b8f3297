"""What real viewers see while the rate, and the rung, that they watch changes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest
from aiortc import RTCRtpReceiver
from aiortc.rtp import (
    RTCP_PSFB_APP,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtpPacket,
)

from camagent.media.capture import Capture
from camagent.media.encoder import EncoderOptions
from camagent.media.synthetic import SyntheticSource
from camagent.webrtc.bitrate import RateLimits
from camagent.webrtc.conductor import Conductor
from camagent.webrtc.packing import Packing
from camagent.webrtc.rungs import RungSize
from camagent.webrtc.sender import VideoSender
from tests.support import running, until
from tests.webrtc.viewers import Viewer, camera, served, viewer

OPTIONS = EncoderOptions(
    width_px=640,
    height_px=480,
    frames_per_second=15,
    bitrate_bps=800_000,
    keyframe_interval_s=60,
)
LIMITS = RateLimits(floor_bps=10_000, start_bps=400_000, ceiling_bps=800_000)
LOW_PX = (320, 240)
NARROW_BPS, WIDE_BPS = 30_000, 5_000_000
CLOCK_HZ = 90_000


def size_of(options: EncoderOptions) -> RungSize:
    return RungSize(
        width_px=options.width_px,
        height_px=options.height_px,
        frames_per_second=options.frames_per_second,
        ceiling_bps=options.bitrate_bps,
    )


class Watching:
    """One real viewer, its sender, and the RTP packets that reach it."""

    def __init__(self, viewer: Viewer, sender: VideoSender) -> None:
        self.viewer = viewer
        self.sender = sender
        self.packets: list[RtpPacket] = []
        self.came_at_s: dict[int, float] = {}
        self.receiver: RTCRtpReceiver = viewer.connection.getTransceivers()[0].receiver
        handle = self.receiver._handle_rtp_packet

        async def note(packet: RtpPacket, arrival_time_ms: int) -> None:
            self.packets.append(packet)
            self.came_at_s.setdefault(packet.timestamp, time.monotonic())
            await handle(packet, arrival_time_ms=arrival_time_ms)

        self.receiver._handle_rtp_packet = note
        # Its own estimates would tell of this machine's speed.
        self._send = self.receiver._send_rtcp
        self.receiver._send_rtcp = self._send_all_but_estimates

    async def _send_all_but_estimates(self, packet: AnyRtcpPacket) -> None:
        if not (isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP):
            await self._send(packet)

    def claims(self, bandwidth_bps: int) -> None:
        """Let the viewer's estimate fall from what it gets to this."""
        for bps in (LIMITS.start_bps, bandwidth_bps):
            self.sender._followers.take_estimate(bps)

    async def until_size(self, size_px: tuple[int, int]) -> None:
        """Decode until the pictures are of this size."""
        while True:
            picture = await self.viewer.picture()
            if (picture.width, picture.height) == size_px:
                return

    async def hears(self, packet: object) -> None:
        """Hand our side an RTCP packet as from the viewer."""
        await self.sender._hear(packet)


class House:
    """A running camera whose rungs follow its viewers."""

    def __init__(self, capture: Capture, stack: AsyncExitStack, *, has_low: bool) -> None:
        self.capture = capture
        self.packing = Packing()
        self.conductor = Conductor(
            capture,
            capture.low,
            limits=LIMITS,
            main_size=size_of(OPTIONS),
            low_size=size_of(OPTIONS.low()) if has_low else None,
        )
        self._stack = stack

    async def join(self) -> Watching:
        one = await self._stack.enter_async_context(viewer())
        watching = Watching(one, VideoSender(self.packing))
        await self._stack.enter_async_context(
            served(
                one,
                self.capture,
                sender=watching.sender,
                serve_frames=self.conductor.served,
                deadline_s=120,
            )
        )
        await one.picture()
        return watching


@asynccontextmanager
async def house(*, has_low: bool = True) -> AsyncIterator[House]:
    async with (
        camera(source=SyntheticSource(OPTIONS)) as capture,
        AsyncExitStack() as stack,
    ):
        built = House(capture, stack, has_low=has_low)
        await stack.enter_async_context(running(built.conductor.run()))
        yield built


@pytest.fixture
async def open_house() -> AsyncIterator[House]:
    async with house() as built:
        yield built


async def test_a_viewer_moves_between_rungs(open_house: House) -> None:
    """One SSRC, sequence numbers without a gap, timestamps of the pictures' times, all decoded."""
    one = await open_house.join()
    one.claims(NARROW_BPS)
    await one.until_size(LOW_PX)
    assert one.sender.tally.rung == "low"
    await one.viewer.picture()
    one.sender._followers.take_estimate(WIDE_BPS)
    target = next(iter(open_house.conductor._viewers.values())).rate
    target.try_at(LIMITS.ceiling_bps)
    await one.until_size((OPTIONS.width_px, OPTIONS.height_px))
    await one.viewer.picture()

    media = [packet for packet in one.packets if packet.ssrc == one.sender._sender._ssrc]
    while not media[-1].marker:  # of the newest frame not all is here yet
        media.pop()
    assert len({packet.ssrc for packet in one.packets}) == 1
    numbers = [packet.sequence_number for packet in media]
    assert all(later == earlier + 1 & 0xFFFF for earlier, later in pairwise(numbers))
    steps = [
        later.timestamp - earlier.timestamp & 0xFFFF_FFFF for earlier, later in pairwise(media)
    ]
    assert all(step < 1 << 31 for step in steps), "never backwards"
    timestamps = {packet.timestamp for packet in media}
    assert len(timestamps) == sum(packet.marker for packet in media), "one for each frame"
    shown_s = sum(steps) / CLOCK_HZ
    came_s = one.came_at_s[media[-1].timestamp] - one.came_at_s[media[0].timestamp]
    assert shown_s == pytest.approx(came_s, rel=0.5)
    assert one.sender.tally.keyframes_asked == 0


async def test_the_low_rung_stops_when_nobody_needs_it(open_house: House) -> None:
    """Its encoder is there exactly as long as somebody watches it."""
    one = await open_house.join()
    low = open_house.capture.low
    assert low._encoding is None
    one.claims(NARROW_BPS)
    await until(lambda: low._encoding is not None)
    await one.until_size(LOW_PX)
    next(iter(open_house.conductor._viewers.values())).rate.try_at(LIMITS.ceiling_bps)
    await one.until_size((OPTIONS.width_px, OPTIONS.height_px))
    await until(lambda: low._encoding is None)


async def test_the_rate_reaches_the_encoder(open_house: House) -> None:
    """What a viewer claims is what the running encoder makes from then on."""
    one = await open_house.join()
    encoding = open_house.capture._encoding
    assert encoding is not None
    assert LIMITS.start_bps <= encoding._bitrate_bps <= LIMITS.ceiling_bps
    one.claims(200_000)
    assert 150_000 < encoding._bitrate_bps < 200_000


async def test_with_a_single_rung_the_picture_keeps_its_size() -> None:
    """It gets fewer bits instead, down to the floor."""
    async with house(has_low=False) as built:
        one = await built.join()
        one.claims(NARROW_BPS)
        encoding = built.capture._encoding
        assert encoding is not None
        await until(lambda: encoding._bitrate_bps < NARROW_BPS)
        for _ in range(5):
            picture = await one.viewer.picture()
            assert (picture.width, picture.height) == (OPTIONS.width_px, OPTIONS.height_px)
        assert built.capture.low._encoding is None


def keyframe_request(one: Watching) -> object:
    return RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=one.sender._sender._ssrc)


def request_for_all(one: Watching) -> object:
    newest = one.sender._next & 0xFFFF
    lost = [newest - back & 0xFFFF for back in range(200)]
    return RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=one.sender._sender._ssrc, lost=lost)


def request_for_most(one: Watching) -> object:
    newest = one.sender._next & 0xFFFF
    lost = [newest - back & 0xFFFF for back in range(200) if back % 4]
    return RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=one.sender._sender._ssrc, lost=lost)


def report_on_what_was_never_sent(one: Watching) -> object:
    strange = RtcpReceiverInfo(
        ssrc=one.sender._sender._ssrc,
        fraction_lost=255,
        packets_lost=(1 << 23) - 1,
        highest_sequence=0xFFFF_FFFF,
        jitter=0xFFFF_FFFF,
        lsr=0xFFFF_FFFF,
        dlsr=0xFFFF_FFFF,
    )
    return RtcpRrPacket(ssrc=1, reports=[strange])


def remb_of(bandwidth: int, exponent: int, *ssrcs: int) -> bytes:
    mantissa = exponent << 18 | bandwidth
    return (
        b"REMB"
        + bytes([len(ssrcs)])
        + mantissa.to_bytes(3)
        + b"".join(ssrc.to_bytes(4) for ssrc in ssrcs)
    )


def absurd_estimate(one: Watching) -> object:
    fci = remb_of(1, 60, one.sender._sender._ssrc)
    return RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=0, fci=fci)


def no_estimate(one: Watching) -> object:
    fci = remb_of(0, 0, one.sender._sender._ssrc)
    return RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=0, fci=fci)


def estimate_for_another(one: Watching) -> object:
    fci = remb_of(20_000, 0, one.sender._sender._ssrc ^ 1)
    return RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=0, fci=fci)


@pytest.mark.parametrize(
    "feedback",
    [
        keyframe_request,
        request_for_all,
        request_for_most,
        report_on_what_was_never_sent,
        absurd_estimate,
        no_estimate,
        estimate_for_another,
    ],
)
async def test_a_flood_from_one_viewer_is_not_the_others_business(
    open_house: House, feedback: Callable[[Watching], object]
) -> None:
    """A hundred a second for a while: few keyframes, few packets again, and the other's rate stays."""
    good, bad = await open_house.join(), await open_house.join()
    encoding = open_house.capture._encoding
    assert encoding is not None
    await asyncio.sleep(0)
    forced, sent_bytes = open_house.capture.hub.keyframes_forced, bad.sender.tally.payload_bytes
    frames, dropped = good.sender.tally.frames, good.sender.tally.frames_dropped
    began_s = time.monotonic()
    while good.sender.tally.frames < frames + 20:
        await bad.hears(feedback(bad))
        await asyncio.sleep(0.01)

    took_s = time.monotonic() - began_s
    assert open_house.capture.hub.keyframes_forced - forced <= 2 + 2 * took_s, "two a second"
    resent_bytes = 1_200 * bad.sender.tally.packets_resent
    assert resent_bytes < 70_000 + (bad.sender.tally.payload_bytes - sent_bytes)
    assert good.sender.tally.frames_dropped == dropped
    assert good.sender.tally.rung == "main"
    assert encoding._bitrate_bps >= 0.95 * LIMITS.start_bps


async def test_what_goes_out_once_more_is_no_picture_more() -> None:
    """Padding is retransmissions of what was just sent: the viewer counts it, and drops it."""
    async with camera(source=SyntheticSource(OPTIONS)) as capture, viewer() as one:
        watching = Watching(one, VideoSender(Packing()))
        async with served(one, capture, sender=watching.sender):
            await one.picture()
            watching.sender.padding_per_frame_bytes = 6_000
            sent = watching.sender.tally.frames
            await until(lambda: watching.sender.tally.frames >= sent + 15)
            for _ in range(15):
                await one.picture()
            tally = watching.sender.tally
            rtx_ssrc = watching.sender._sender._rtx_ssrc
            repeated = [packet for packet in watching.packets if packet.ssrc == rtx_ssrc]

    assert 6_000 * 14 <= tally.padding_bytes <= 9_000 * (tally.frames + 1)
    assert len(repeated) >= 14 * 5
    assert tally.packets_resent == 0
    assert tally.keyframes_asked == 0

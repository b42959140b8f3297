"""One viewer's RTP: shared packets in, SRTP out, RTCP feedback back.

Stands in for aiortc's send loop, which packetizes, builds and copies every packet for every viewer.
Here a frame is laid out once; each viewer's copy gets its numbers, is encrypted where it lies and
leaves in one or two system calls. There is no queue: what the socket does not take is lost, and the
viewer starts again at a keyframe.

aiortc's sender stays what SDP and transport know: its SSRCs are used, four of its methods are ours.
"""

import asyncio
import random
import secrets
import time
from typing import NoReturn

import structlog
from aiortc import RTCPeerConnection, RTCRtpSender, RTCRtpTransceiver
from aiortc.rtcrtpparameters import RTCRtpSendParameters
from aiortc.rtp import AnyRtcpPacket
from aiortc.stats import RTCStatsReport

from camagent.errors import ViewerLost
from camagent.media.frame import EncodedFrame
from camagent.webrtc.bursts import Bursts
from camagent.webrtc.layout import padding_packet
from camagent.webrtc.media_clock import MediaClock
from camagent.webrtc.negotiated import Negotiated, negotiated, srtp_tag_bytes
from camagent.webrtc.outgoing import Outgoing
from camagent.webrtc.packing import PackedFrame, Packing
from camagent.webrtc.reception import PATIENCE, Patience, Reception, Report
from camagent.webrtc.repair import Repair
from camagent.webrtc.retransmission import SentFrame
from camagent.webrtc.rtcp import (
    Feedback,
    goodbye,
    middle_of,
    read_feedback,
    sender_report,
)
from camagent.webrtc.sending import Followers, Tally
from camagent.webrtc.statistics import statistics
from camagent.webrtc.wire import WireFull

log = structlog.get_logger(__name__)

_REPORT_INTERVAL_S = 0.15, 0.3
_LEAST_STEP_US = 1_000
_16_BITS = 0xFFFF


class VideoSender:
    """Sends the shared stream to one viewer.

    Args:
        packing: where all viewers of the rung have their frames packetized.
        patience: with a viewer that does not report.
    """

    def __init__(self, packing: Packing, patience: Patience = PATIENCE) -> None:
        self.tally = Tally()
        self.first_frame_sent = asyncio.Event()
        self.padding_per_frame_bytes = 0
        self.ceiling_bps: int | None = None
        self._packing = packing
        self._followers = Followers()
        self._newest_pts_us = -1
        self._reception = Reception(now_s=time.monotonic, patience=patience)
        self._needs_keyframe = True
        self._is_paused = False
        self._rtc: RTCRtpSender | None = None
        self._outgoing: Outgoing | None = None
        self._bursts: Bursts | None = None
        self._repair: Repair | None = None
        self._agreed: Negotiated | None = None
        self._playout_delay_id: int | None = None
        # In the lower half, so that none of the first packets lost makes libsrtp count a wrap.
        self._next = secrets.randbelow(1 << 15)
        self._clock = MediaClock(secrets.randbits(32))

    @property
    def report(self) -> Report | None:
        """What the viewer reported last."""
        return self._reception.newest

    @property
    def media_clock_offset(self) -> int | None:
        """The RTP timestamp at which the clock of the sender reports is zero."""
        return self._clock.direct_offset

    def follow(self, followers: Followers) -> None:
        """Tell `followers` from now on what the viewer says."""
        self._followers = followers

    def add_to(self, connection: RTCPeerConnection) -> RTCRtpTransceiver:
        """Add the video to a new peer connection, to be sent only."""
        transceiver = connection.addTransceiver("video", direction="sendonly")
        self._rtc = rtc = transceiver.sender
        rtc.send = self._start  # type: ignore[method-assign]
        rtc.stop = self._finish  # type: ignore[method-assign]
        rtc.getStats = self._get_stats  # type: ignore[method-assign]
        rtc._handle_rtcp_packet = self._hear  # type: ignore[method-assign]  # noqa: SLF001 - contract test
        return transceiver

    def agree_playout_delay(self, extension_id: int) -> bool:
        """Send the header extension that asks to show pictures at once, under this id."""
        self._playout_delay_id = extension_id
        return True

    def take(self, frame: EncodedFrame) -> None:
        """Send `frame`, or drop it: before a keyframe, to a viewer that is silent, on a full socket."""
        self._needs_keyframe = self._needs_keyframe and not frame.is_keyframe
        if self._outgoing is None or self._is_paused:
            self._needs_keyframe = True
        if self._needs_keyframe:
            self.tally.frames_dropped += 1
            return
        assert self._agreed is not None, "known since the outgoing side is"
        assert self._bursts is not None, "made with the outgoing side"
        assert self._repair is not None, "made with the outgoing side"
        packed = self._packing.pack(frame)
        # Rungs are encoded side by side: after a change the same picture, or one before it, comes
        # again, and two frames with one timestamp would be one to the viewer.
        self._newest_pts_us = max(frame.pts_us, self._newest_pts_us + _LEAST_STEP_US)
        timestamp = self._clock.rtp_timestamp(self._newest_pts_us)
        sent = SentFrame(
            self._next, len(packed.payloads), packed.number, timestamp, frame.is_keyframe
        )
        self._next += sent.packets
        self._reception.note_sent()
        self._repair.note_sent(sent, size_bytes=packed.payload_bytes)
        self._bursts.send(
            packed.laid_out(self._agreed.media), first=sent.first, timestamp=timestamp
        )
        self._repair.pad(sent, self.padding_per_frame_bytes)
        self._count(packed)

    async def run(self) -> NoReturn:
        """Report to the viewer, whose answers tell of queues, and see that it reports to us.

        Raises:
            ViewerLost: it has not reported for long though media went out to it.
        """
        while not self._reception.is_gone:
            await asyncio.sleep(random.uniform(*_REPORT_INTERVAL_S))  # noqa: S311
            await self._send_report()
            if self._reception.is_silent and not self._is_paused:
                self._is_paused = True
                log.info("sender.paused", silent_for_s=round(self._reception.silent_for_s, 1))
            if self._is_paused:
                self._ask_whether_anybody_is_there()
        limit_s = self._reception.patience.end_after_s
        raise ViewerLost(f"the viewer has not reported for {limit_s:g} s")

    def stop(self) -> None:
        """Send nothing more."""
        if self._bursts is not None:
            self._bursts.stop()
        if self._outgoing is not None:
            self._outgoing.close()
            self._outgoing = None

    def _request_keyframe(self) -> None:
        self._followers.request_keyframe()

    async def _start(self, parameters: RTCRtpSendParameters) -> None:
        """Begin: aiortc calls this once the transport is connected."""
        rtc = self._sender
        if self._agreed is not None:
            return
        transport = rtc.transport
        self._agreed = negotiated(
            parameters,
            tag_bytes=srtp_tag_bytes(transport),
            playout_delay_id=self._playout_delay_id,
        )
        ssrc, rtx_ssrc = rtc._ssrc, rtc._rtx_ssrc  # noqa: SLF001 - contract test
        self._outgoing = Outgoing(transport, self._packing.scratch, ssrc=ssrc, rtx_ssrc=rtx_ssrc)
        self._bursts = Bursts(self._outgoing, on_loss=self._start_again)
        self._repair = Repair(
            self._packing,
            self._outgoing,
            self._agreed.repair,
            request_keyframe=self._request_keyframe,
            tally=self.tally,
        )
        transport._register_rtp_sender(rtc, parameters)  # noqa: SLF001 - contract test

    async def _finish(self) -> None:
        """Say goodbye: aiortc calls this when the connection closes."""
        self.stop()
        if self._agreed is not None:
            rtc = self._sender
            rtc.transport._unregister_rtp_sender(rtc)  # noqa: SLF001 - contract test
            await self._send_rtcp(goodbye(rtc._ssrc))  # noqa: SLF001

    async def _get_stats(self) -> RTCStatsReport:
        return statistics(self._sender, self.tally, self.report)

    async def _hear(self, packet: AnyRtcpPacket) -> None:
        """Take what the viewer says of our stream; aiortc calls this for each RTCP packet."""
        feedback = read_feedback(packet, ssrc=self._sender._ssrc)  # noqa: SLF001
        if feedback is None or self._outgoing is None:
            return
        self._reception.note_heard()
        if self._is_paused:
            self._is_paused = False
            log.info("sender.resumed")
            self._request_keyframe()
        self._obey(feedback)

    def _obey(self, feedback: Feedback) -> None:
        for block in feedback.reports:
            self._reception.note_report(
                fraction_lost=block.fraction_lost,
                packets_lost=block.packets_lost,
                highest_sequence=block.highest_sequence,
                jitter=block.jitter,
                lsr=block.lsr,
                dlsr=block.dlsr,
            )
        if feedback.reports and self.report is not None:
            self._followers.take_report(self.report)
        if feedback.bandwidth_bps is not None:
            self._followers.take_estimate(feedback.bandwidth_bps)
        if feedback.asks_keyframe:
            self.tally.keyframes_asked += 1
            self._request_keyframe()
        if feedback.lost and self._repair is not None:
            round_trip_s = None if self.report is None else self.report.round_trip_s
            self._repair.answer(feedback.lost, round_trip_s=round_trip_s)
            if share := self._repair.given_up_share():
                self._followers.take_flood(share)
                # Meanwhile what queues on the way can leave it.
                self._start_again()

    def _start_again(self) -> None:
        """Go on with a keyframe: what comes before it refers to what is lost."""
        self._needs_keyframe = True
        self._request_keyframe()

    def _count(self, packed: PackedFrame) -> None:
        tally = self.tally
        if self._needs_keyframe:
            tally.frames_dropped += 1
            return
        tally.frames += 1
        tally.keyframes += packed.frame.is_keyframe
        tally.bytes += len(packed.frame.data)
        tally.packets += len(packed.payloads)
        tally.payload_bytes += packed.payload_bytes
        if tally.frames == 1:
            self.first_frame_sent.set()

    async def _send_report(self) -> None:
        assert self._agreed is not None, "there is nothing to report before media may flow"
        now_us = self._clock.now_us
        ntp = self._clock.ntp(now_us)
        self._reception.note_sender_report(middle_of(ntp))
        report = sender_report(
            ssrc=self._sender._ssrc,  # noqa: SLF001
            cname=self._agreed.cname,
            ntp=ntp,
            rtp_timestamp=self._clock.rtp_timestamp(now_us),
            packets=self.tally.packets,
            payload_bytes=self.tally.payload_bytes,
        )
        await self._send_rtcp(report)

    async def _send_rtcp(self, data: bytes) -> None:
        try:
            await self._sender.transport._send_rtp(data)  # noqa: SLF001 - contract test
        except (ConnectionError, OSError):
            log.debug("sender.report_lost")

    def _ask_whether_anybody_is_there(self) -> None:
        """Send something to report on: who gets nothing for 8 s, reports nothing from then on."""
        if self._outgoing is None or self._agreed is None:
            return
        probe = padding_packet(self._agreed.media, sent_at_s=time.time())
        number, self._next = self._next, self._next + 1
        timestamp = self._clock.rtp_timestamp(self._clock.now_us)
        try:
            self._outgoing.send(probe, sequence_number=number & _16_BITS, timestamp=timestamp)
        except (WireFull, OSError, ValueError):
            log.debug("sender.probe_lost")

    @property
    def _sender(self) -> RTCRtpSender:
        assert self._rtc is not None, "add_to comes first"
        return self._rtc

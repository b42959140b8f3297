"""The viewers of a benchmark, in a process of their own: aiortc peers that count instead of decoding.

Reads one request a line on its input, as JSON, and writes one answer a line. Each viewer decrypts
everything up to the first whole IDR, then every sixteenth packet, and reports once a second.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    pack_remb_fci,
)
from pylibsrtp import Error

from tests.bench.recording import OPTIONS
from tests.webrtc.depacketizer import RtpPacket, read_rtp

_DECRYPTED_SHARE = 16
_RTCP_TYPES = range(192, 224)
_RTP_OR_RTCP = range(128, 192)
_IDR, _STAP_A, _FU_A = 5, 24, 28


@dataclass
class Count:
    """What came since it was asked to start anew; `undecryptable` of those tried."""

    packets: int = 0
    frames: int = 0
    gaps: int = 0
    undecryptable: int = 0
    first_at_s: float = 0.0
    last_at_s: float = 0.0


class Viewer:
    """One of them."""

    def __init__(self) -> None:
        self.count = Count()
        self.offered_at_s = 0.0
        self.first_idr: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        transceiver = self._connection.addTransceiver("video", direction="recvonly")
        self._transport = transceiver.receiver.transport
        self._transport._handle_rtp_data = self._take_decrypted  # type: ignore[method-assign]
        self._frame: list[RtpPacket] = []
        self._newest = -1
        self._ssrc = 0
        self._reporting: asyncio.Task[None] | None = None

    async def offer(self) -> str:
        await self._connection.setLocalDescription()
        return str(self._connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def close(self) -> None:
        if self._reporting is not None:
            self._reporting.cancel()
        await self._connection.close()

    async def _take_decrypted(self, data: bytes, arrival_time_ms: int) -> None:  # noqa: ARG002
        """Look for the first whole IDR; aiortc calls this for each packet."""
        packet = read_rtp(data)
        self._ssrc, self._newest = packet.ssrc, packet.sequence_number
        self._frame.append(packet)
        if packet.is_marked:
            if not self.first_idr.done() and _is_whole_idr(self._frame):
                self.first_idr.set_result(time.perf_counter())
                self._take_over()
            self._frame.clear()

    def _take_over(self) -> None:
        """Count from now on where datagrams come in, before aiortc does anything with them."""
        for protocol in self._transport.transport._connection._protocols:
            protocol.datagram_received = self._counting(protocol.datagram_received)
        self._reporting = asyncio.create_task(self._report())

    def _counting(self, pass_on: Callable[[bytes, Any], None]) -> Callable[[bytes, Any], None]:
        unprotect = self._transport._rx_srtp.unprotect

        def take(data: bytes, address: Any) -> None:
            if data[0] not in _RTP_OR_RTCP or data[1] in _RTCP_TYPES:
                pass_on(data, address)
                return
            count, number = self.count, data[2] << 8 | data[3]
            count.packets += 1
            if number != self._newest + 1 & 0xFFFF:
                count.gaps += 1
            self._newest = number
            if data[1] & 0x80:
                count.frames += 1
                count.last_at_s = now_s = time.perf_counter()
                count.first_at_s = count.first_at_s or now_s
            if not count.packets % _DECRYPTED_SHARE:
                try:
                    unprotect(data)
                except Error:
                    count.undecryptable += 1

        return take

    async def _report(self) -> None:
        # aiortc's own encoder knows no other way to be told the bitrate.
        estimate = pack_remb_fci(OPTIONS.bitrate_bps, [self._ssrc])
        remb = RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=estimate)
        await self._transport._send_rtp(bytes(remb))
        for _ in itertools.count():
            report = RtcpReceiverInfo(
                ssrc=self._ssrc,
                fraction_lost=0,
                packets_lost=0,
                highest_sequence=self._newest,
                jitter=0,
                lsr=0,
                dlsr=0,
            )
            try:
                await self._transport._send_rtp(bytes(RtcpRrPacket(ssrc=1, reports=[report])))
            except ConnectionError:
                return
            await asyncio.sleep(1)


class Viewers:
    """All of them by name; each method is a request."""

    def __init__(self) -> None:
        self._viewers: dict[str, Viewer] = {}

    async def offer(self, viewer: str) -> dict[str, Any]:
        self._viewers[viewer] = one = Viewer()
        sdp = await one.offer()
        one.offered_at_s = time.perf_counter()
        return {"sdp": sdp}

    async def accept(self, viewer: str, sdp: str) -> dict[str, Any]:
        await self._viewers[viewer].accept(sdp)
        return {}

    async def first_idr(self, viewer: str) -> dict[str, Any]:
        one = self._viewers[viewer]
        return {"after_s": await one.first_idr - one.offered_at_s}

    async def close(self, viewer: str) -> dict[str, Any]:
        await self._viewers.pop(viewer).close()
        return {}

    async def start_anew(self) -> dict[str, Any]:
        for one in self._viewers.values():
            one.count = Count()
        return {}

    async def counts(self) -> dict[str, Any]:
        return {name: asdict(one.count) for name, one in self._viewers.items()}


def _is_whole_idr(packets: list[RtpPacket]) -> bool:
    first = packets[0].sequence_number
    return any(_carries_idr(packet.payload) for packet in packets) and all(
        packet.sequence_number == first + index & 0xFFFF for index, packet in enumerate(packets)
    )


def _carries_idr(payload: bytes) -> bool:
    kind, at = payload[0] & 0x1F, 1
    if kind == _FU_A:
        return payload[1] & 0x1F == _IDR
    if kind != _STAP_A:
        return kind == _IDR
    while at < len(payload):
        if payload[at + 2] & 0x1F == _IDR:
            return True
        at += 2 + int.from_bytes(payload[at : at + 2])
    return False


async def _serve() -> None:
    reader, viewers = asyncio.StreamReader(), Viewers()
    tasks: set[asyncio.Task[None]] = set()

    async def answer(request: dict[str, Any]) -> None:
        result = await getattr(viewers, request["verb"])(**request["arguments"])
        sys.stdout.write(json.dumps({"number": request["number"], "result": result}) + "\n")
        sys.stdout.flush()

    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        task = asyncio.create_task(answer(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    asyncio.run(_serve())


if __name__ == "__main__":
    main()

"""Viewers whose offers have H.264 under other numbers than usual."""

import re

import pytest

from camagent.errors import NegotiationFailed
from camagent.webrtc.ice_servers import IceServers
from camagent.webrtc.packing import Packing
from camagent.webrtc.peer import PeerOptions, open_peer
from camagent.webrtc.sdp import read_offer
from camagent.webrtc.sender import VideoSender
from tests.webrtc.viewers import Viewer, camera, served, viewer

BASELINE = re.compile(r"a=fmtp:(?P<number>\d+) .*profile-level-id=42e01f")


def renumbered(offer: str, number: int) -> str:
    """Write an offer as a browser does that has used up other numbers."""
    found = BASELINE.search(offer)
    assert found is not None, "aiortc offers it"
    old = found["number"]
    media = re.sub(rf"(m=video .*) {old}\b", rf"\g<1> {number}", offer)
    numbered = re.sub(rf"a=(rtpmap|fmtp|rtcp-fb):{old}\b", rf"a=\g<1>:{number}", media)
    return numbered.replace(f"apt={old}\r\n", f"apt={number}\r\n")


class Renumbering:
    """A viewer that offers H.264 under `number`."""

    def __init__(self, one: Viewer, number: int) -> None:
        self._one, self._number = one, number
        self.accept = one.accept

    async def offer(self) -> str:
        return renumbered(await self._one.offer(), self._number)


@pytest.mark.parametrize("number", [35, 63, 0, 127])
async def test_a_number_that_rtp_can_use_is_used(number: int) -> None:
    """The picture comes under it, and lost packets can be asked for again."""
    async with (
        camera() as capture,
        viewer() as one,
        served(Renumbering(one, number), capture) as service,
    ):
        await one.picture()

    assert f"a=rtpmap:{number} H264/90000" in service.answer
    assert f"apt={number}\r\n" in service.answer


@pytest.mark.parametrize("number", [64, 95, 128, 300])
async def test_a_number_that_rtp_cannot_use_is_refused(number: int) -> None:
    """In RTP's one byte it would be that of a report, or be cut off (RFC 5761, section 4)."""
    async with (
        viewer() as one,
        open_peer(VideoSender(Packing()), servers=IceServers(), options=PeerOptions()) as peer,
    ):
        await peer.gathered()
        offer = read_offer(renumbered(await one.offer(), number))
        with pytest.raises(NegotiationFailed):
            await peer.answer(offer)

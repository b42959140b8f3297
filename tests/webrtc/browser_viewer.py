"""A viewer that is Chromium, without page or relay: descriptions go by hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import BrowserContext, Page

from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.sending import Sender
from tests.support import DEADLINE_S, eventually
from tests.webrtc.viewers import CameraWithHub, Served, served

# Its own addresses by name would ask for multicast DNS.
FLAGS = ("--disable-features=WebRtcHideLocalIpsWithMdns",)

_OFFER = """async () => {
  const peer = window.peer = new RTCPeerConnection();
  peer.addTransceiver('video', { direction: 'recvonly' });
  peer.ontrack = ({ track }) => {
    const video = document.createElement('video');
    Object.assign(video, { muted: true, width: 64, srcObject: new MediaStream([track]) });
    document.body.append(video);
    video.play();
  };
  await peer.setLocalDescription();
  if (peer.iceGatheringState !== 'complete') {
    await new Promise((resolve) => {
      peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && resolve();
    });
  }
  return peer.localDescription.sdp;
}"""

_STATS = """async () => {
  const stats = [...(await window.peer.getStats()).values()];
  const transport = stats.find(({ type }) => type === 'transport') ?? {};
  const video = stats.find(({ type }) => type === 'inbound-rtp') ?? {};
  return { ...video, srtpCipher: transport.srtpCipher };
}"""

_TOP_ROWS = """() => {
  const video = document.querySelector('video');
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [video.videoWidth, 16];
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0);
  return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
}"""


class BrowserViewer:
    """One page with one peer connection that wants video."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def offer(self) -> str:
        """Give an offer with all its candidates."""
        return str(await self.page.evaluate(_OFFER))

    async def accept(self, answer: str) -> None:
        script = "sdp => window.peer.setRemoteDescription({ type: 'answer', sdp })"
        await self.page.evaluate(script, answer)

    async def stats(self) -> dict[str, Any]:
        """Give `inbound-rtp` of the video (W3C webrtc-stats), and `srtpCipher` of the transport."""
        return dict(await self.page.evaluate(_STATS))

    async def decoded(self) -> int:
        """Count the frames that it decoded."""
        return int((await self.stats()).get("framesDecoded", 0))

    async def top_rows(self) -> list[int]:
        """Give the first 16 rows of the picture that is shown, as RGBA."""
        return list(await self.page.evaluate(_TOP_ROWS))


@dataclass(frozen=True)
class Watched(Served):
    """A session with a Chromium at its other end."""

    viewer: BrowserViewer

    async def until_decoded(self, frames: int) -> None:
        """Wait until the viewer has decoded so many frames."""

        async def are_decoded() -> bool:
            return await self.viewer.decoded() >= frames

        await eventually(are_decoded)

    async def until_it_moves(self, more: int = 10) -> None:
        """Wait until the viewer has decoded so many frames more."""
        await self.until_decoded(await self.viewer.decoded() + more)

    async def until_all_is_decoded(self) -> None:
        """Wait until the viewer has decoded what was sent, given that no more is sent."""
        await self.until_decoded(self.tally.frames)

    async def until_all_is_taken(self) -> None:
        """Wait likewise, but let it drop what a keyframe overtook: who joins gets several at once."""

        async def are_taken() -> bool:
            stats = await self.viewer.stats()
            return stats["framesDecoded"] + stats["framesDropped"] >= self.tally.frames

        await eventually(are_taken)


@asynccontextmanager
async def watched(
    browser: BrowserContext,
    camera: CameraWithHub,
    *,
    sender: Sender | None = None,
    serve_frames: Callable[[Sender], AbstractContextManager[None]] | None = None,
    options: PeerOptions | None = None,
    deadline_s: float = 2 * DEADLINE_S,
) -> AsyncIterator[Watched]:
    """Hold a session of `camera` with a new page of `browser`."""
    page = await browser.new_page()
    viewer = BrowserViewer(page)
    try:
        async with served(
            viewer,
            camera,
            sender=sender,
            serve_frames=serve_frames,
            options=options,
            deadline_s=deadline_s,
        ) as one:
            yield Watched(one.session, one.answer, one.running, viewer)
    finally:
        await page.close()

"""What Chromium at the far end of a clean network sees of the send path."""

from contextlib import AsyncExitStack

import numpy as np
import pytest
from playwright.async_api import BrowserContext

from camagent.media.encoder import EncoderOptions
from camagent.media.timestamp import read_timestamp
from camagent.webrtc.packing import Packing
from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.sender import VideoSender
from tests.support import until
from tests.webrtc.browser_viewer import Watched, watched
from tests.webrtc.reel import options_of, recorded, showing

pytestmark = pytest.mark.asyncio(loop_scope="module")

HD = options_of(1280, 720)
FULL_HD = options_of(1920, 1080, bitrate_bps=4_000_000)
FRAMES = 30


async def seen_by(one: Watched) -> int:
    """Read the number in the picture that is shown."""
    rgba = np.array(await one.viewer.top_rows(), dtype=np.uint8)
    return read_timestamp(rgba.reshape(16, -1, 4)[:, :, 1])


async def assert_all_is_seen(one: Watched) -> None:
    """Compare what was sent, of which no more comes, with what was decoded."""
    await one.until_all_is_decoded()
    stats = await one.viewer.stats()
    assert stats["framesDecoded"] == stats["framesReceived"] == one.tally.frames
    assert stats["framesDropped"] == 0
    assert stats["packetsReceived"] == one.tally.packets
    assert stats["packetsLost"] == 0
    assert one.tally.packets_resent == 0
    assert await seen_by(one) in range(FRAMES)


@pytest.mark.parametrize(
    ("options", "profile_level_id"), [(HD, "42e01f"), (FULL_HD, "42e028")], ids=["720p", "1080p"]
)
async def test_every_frame_is_decoded(
    far_browser: BrowserContext, options: EncoderOptions, profile_level_id: str
) -> None:
    """Alone, and then as one of four who joined meanwhile, each sees all that it was sent."""
    peer_options = PeerOptions(level=options.level)
    packing = Packing()
    async with (
        showing(await recorded(options, frames=FRAMES)) as reel,
        AsyncExitStack() as stack,
    ):

        async def join() -> Watched:
            sender = VideoSender(packing, reel.hub.request_keyframe)
            entering = watched(far_browser, reel, sender=sender, options=peer_options)
            return await stack.enter_async_context(entering)

        first = await join()
        await until(lambda: first.tally.frames >= FRAMES)
        reel.is_held = True
        await assert_all_is_seen(first)
        assert (await first.viewer.stats())["freezeCount"] == 0

        others = [await join() for _ in range(3)]
        reel.is_held = False
        await until(lambda: all(one.tally.frames >= FRAMES for one in others))
        reel.is_held = True
        for one in (first, *others):
            await assert_all_is_seen(one)
            assert f"profile-level-id={profile_level_id}" in one.answer
            assert (await one.viewer.stats())["frameHeight"] == options.height_px

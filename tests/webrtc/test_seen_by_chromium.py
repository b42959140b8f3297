"""What Chromium at the far end of a clean network sees of the send path."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
from av import VideoFrame
from playwright.async_api import BrowserContext

from camagent.media.encoder import EncoderOptions
from camagent.media.timestamp import read_timestamp
from camagent.webrtc.layout import MOST_PACKETS_AT_ONCE
from camagent.webrtc.negotiated import PLAYOUT_DELAY_URI
from camagent.webrtc.packetizer import packetize
from camagent.webrtc.packing import Packing
from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.sender import VideoSender
from tests.chromium import chromium
from tests.network import Network, network
from tests.support import unless_disturbed, until
from tests.webrtc.browser_viewer import FLAGS, Watched, watched
from tests.webrtc.reel import options_of, recorded, showing

pytestmark = pytest.mark.asyncio(loop_scope="module")

HD = options_of(1280, 720)
FULL_HD = options_of(1920, 1080, bitrate_bps=4_000_000)
FRAMES = 15


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


@unless_disturbed
@pytest.mark.parametrize(
    ("options", "profile_level_id"), [(HD, "42e01f"), (FULL_HD, "42e028")], ids=["720p", "1080p"]
)
async def test_every_frame_is_decoded(
    far_browser: BrowserContext, options: EncoderOptions, profile_level_id: str
) -> None:
    """Alone, and then as one of four who joined meanwhile, each sees all that it was sent."""
    peer_options = PeerOptions(level=options.level)
    packing = Packing()
    # As many as four browsers can decode here; what they cannot they leave out.
    reeling = showing(await recorded(options, frames=FRAMES), frames_per_second=20)
    async with (
        reeling as reel,
        AsyncExitStack() as stack,
    ):

        async def join() -> Watched:
            sender = VideoSender(packing)
            entering = watched(far_browser, reel, sender=sender, options=peer_options)
            return await stack.enter_async_context(entering)

        first = await join()
        await until(lambda: first.tally.frames >= FRAMES)
        reel.is_held = True
        await assert_all_is_seen(first)
        assert reel.was_late or (await first.viewer.stats())["freezeCount"] == 0

        others = [await join() for _ in range(3)]
        reel.is_held = False
        await until(lambda: all(one.tally.frames >= FRAMES for one in others))
        reel.is_held = True
        for one in (first, *others):
            await assert_all_is_seen(one)
            assert f"profile-level-id={profile_level_id}" in one.answer
            assert (await one.viewer.stats())["frameHeight"] == options.height_px


async def test_every_cipher_is_understood(far_browser: BrowserContext) -> None:
    """Chromium picks AES-CM with SHA1 where it may; where we may, AES-GCM is used."""
    ciphers = []
    async with showing(await recorded(HD, frames=FRAMES)) as reel:
        for prefers_gcm in (False, True):
            options = PeerOptions(prefers_gcm=prefers_gcm)
            async with watched(far_browser, reel, options=options) as one:
                await one.until_it_moves()
                ciphers.append((await one.viewer.stats())["srtpCipher"])

    assert ciphers == ["SRTP_AES128_CM_HMAC_SHA1_80", "SRTP_AEAD_AES_256_GCM"]


@unless_disturbed
async def test_a_large_keyframe_arrives(far_browser: BrowserContext) -> None:
    """One of more than 64 packets, sent in bursts, is decoded, and so is what follows."""
    # Large for its few pixels: what a busy machine cannot decode in time it may leave out.
    options = options_of(640, 480, bitrate_bps=10_000_000)
    frames = await recorded(options, frames=FRAMES, draw=noise(options))
    async with (
        showing(frames) as reel,
        watched(far_browser, reel, options=PeerOptions(level="4.0")) as one,
    ):
        await one.until_it_moves(2 * FRAMES)
        reel.is_held = True
        await one.until_all_is_taken()
        stats = await one.viewer.stats()

    assert len(packetize(frames[0].data)) > MOST_PACKETS_AT_ONCE
    assert stats["packetsLost"] == 0
    assert stats["keyFramesDecoded"] > 1
    # A busy machine drops a keyframe as well, when the next one overtakes it.
    assert stats["keyFramesDecoded"] + stats["framesDropped"] >= one.tally.keyframes


@unless_disturbed
async def test_pictures_are_shown_at_once(far_browser: BrowserContext) -> None:
    """Chromium keeps pictures back for less long when it is asked to."""
    delays_s = []
    async with showing(await recorded(HD, frames=FRAMES)) as reel:
        for asks in (False, True):
            options = PeerOptions(asks_to_show_at_once=asks)
            async with watched(far_browser, reel, options=options) as one:
                assert (PLAYOUT_DELAY_URI in one.answer) == asks
                await one.until_it_moves(40)
                stats = await one.viewer.stats()
                delays_s.append(stats["jitterBufferDelay"] / stats["jitterBufferEmittedCount"])

    assert delays_s[1] < delays_s[0]


@unless_disturbed
async def test_ipv6_alone_is_enough(
    program: Callable[[str, str], str], tmp_path: Path, far_network: Network
) -> None:
    """Where there is no IPv4, pictures come by IPv6."""
    async with network((6,)) as one_network:
        path = one_network.viewer.launcher(program("chromium", "chromium"), tmp_path)
        with one_network.device.entered():
            async with (
                chromium(str(path), FLAGS) as browser,
                showing(await recorded(HD, frames=FRAMES)) as reel,
                watched(await browser.new_context(), reel) as one,
            ):
                await until(lambda: one.tally.frames >= 10)
                reel.is_held = True
                await assert_all_is_seen(one)
                assert "IN IP6 fd00::1" in one.answer


def noise(options: EncoderOptions) -> Callable[[int], VideoFrame]:
    """Draw what cannot be compressed, again and again."""
    shape = (options.height_px * 3 // 2, options.width_px)
    picture = np.random.default_rng(1).integers(16, 235, shape, dtype=np.uint8)

    def draw(_number: int) -> VideoFrame:
        return VideoFrame.from_ndarray(picture, format="yuv420p")

    return draw

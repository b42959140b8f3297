"""What one viewer gets of the shared stream by aiortc's own sender."""

import asyncio

import pytest
from aiortc.mediastreams import MediaStreamError

from camagent.media.frame import EncodedFrame
from camagent.webrtc.sending import Followers
from camagent.webrtc.stock import MOST_FRAMES_WAITING, StockSender

FRAME_US = 33_333


class Requests:
    """Counts keyframe requests."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def frame(number: int, *, is_keyframe: bool = False) -> EncodedFrame:
    return EncodedFrame(b"\x00\x00\x00\x01frame", number * FRAME_US, is_keyframe)


async def test_a_viewer_starts_at_a_keyframe() -> None:
    """What comes before the first keyframe cannot be decoded and is not sent."""
    sender = StockSender()
    sender.take(frame(0))
    sender.take(frame(1, is_keyframe=True))
    sender.take(frame(2))

    assert (await sender.next_packet()).pts == FRAME_US
    assert (await sender.next_packet()).pts == 2 * FRAME_US
    assert sender.tally.frames_dropped == 1


async def test_a_packet_carries_time_and_kind() -> None:
    """A packet has the frame's bytes, its time in microseconds, and whether it is a keyframe."""
    sender = StockSender()
    sender.take(frame(3, is_keyframe=True))

    packet = await sender.next_packet()

    assert bytes(packet) == b"\x00\x00\x00\x01frame"
    assert packet.pts is not None
    assert packet.time_base is not None
    assert packet.pts * packet.time_base == pytest.approx(3 / 30, abs=1e-4)
    assert packet.is_keyframe


async def test_a_viewer_far_behind_starts_again_at_a_keyframe() -> None:
    """Nothing is taken out of the middle of a group of pictures, and nobody waits."""
    requests = Requests()
    sender = StockSender()
    sender.follow(Followers(request_keyframe=requests))
    sender.take(frame(0, is_keyframe=True))
    for number in range(1, MOST_FRAMES_WAITING + 10):
        sender.take(frame(number))
    assert requests.count == 1
    sender.take(frame(100, is_keyframe=True))

    assert (await sender.next_packet()).pts == 100 * FRAME_US
    assert sender.tally.frames_dropped == MOST_FRAMES_WAITING + 10


async def test_stopping_wakes_who_waits() -> None:
    """A sender that waits for the next frame hears of the end."""
    sender = StockSender()
    waiting = asyncio.ensure_future(sender.next_packet())
    await asyncio.sleep(0)
    sender.stop()

    with pytest.raises(MediaStreamError):
        await waiting

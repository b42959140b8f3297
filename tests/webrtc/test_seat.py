"""Where a viewer's frames come from while it moves between rungs."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from camagent.media.frame import EncodedFrame
from camagent.media.hub import VideoHub
from camagent.webrtc.rungs import Place
from camagent.webrtc.seat import DRAIN_S, Seat
from camagent.webrtc.stock import StockSender
from tests.support import until

FRAME_US = 33_333


class Taking(StockSender):
    """Notes the frames it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[EncodedFrame] = []

    def take(self, frame: EncodedFrame) -> None:
        self.taken.append(frame)


class Rig:
    """Two hubs, whose frames say where they come from, and a seat before them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.main = VideoHub(lambda: self.asked.append("main"))
        self.low = VideoHub(lambda: self.asked.append("low"))
        self.sender = Taking()
        self.seat = Seat(self.sender, self.main, self.low)
        self._number = 0

    def frames(self, text: str) -> None:
        """Let frames come: m and l of the main and low rung, M and L for keyframes."""
        for letter in text:
            self._number += 1
            hub = self.main if letter in "mM" else self.low
            at_us = self._number * FRAME_US
            hub.publish(EncodedFrame(letter.encode(), at_us, letter.isupper()))

    @property
    def taken(self) -> str:
        """What the viewer's sender was handed, as such a text."""
        return b"".join(frame.data for frame in self.sender.taken).decode()


@pytest.fixture
async def rig() -> Rig:
    return Rig()


@contextlib.contextmanager
def seated(rig: Rig) -> Iterator[None]:
    with rig.seat.taken():
        yield


async def test_a_viewer_starts_on_the_main_rung(rig: Rig) -> None:
    """And hears nothing of the low one, which nobody wants."""
    with seated(rig):
        rig.frames("MmLlm")
        assert rig.low.subscriber_count == 0
    assert rig.taken == "Mmm"
    rig.frames("m")
    assert rig.taken == "Mmm"


async def test_it_moves_at_a_keyframe(rig: Rig) -> None:
    """Until then it goes on with what it has; no frame is sent that refers to one it lacks."""
    with seated(rig):
        rig.frames("Mm")
        rig.seat.move(Place.LOW)
        assert rig.seat.place is Place.LOW
        rig.frames("lmlmLmlM")
        assert rig.main.subscriber_count == 0
        rig.seat.move(Place.MAIN)
        rig.frames("lmlMlm")
        assert rig.low.subscriber_count == 0
    assert rig.taken == "MmmmLl" + "llMm"


async def test_moving_shows_nothing_twice(rig: Rig) -> None:
    """A keyframe that the other rung has just had is passed over: the next one is waited for."""
    with seated(rig):
        rig.frames("MLl")
        rig.seat.move(Place.LOW)
        rig.frames("lmL")
    assert rig.taken == "MmL"


async def test_who_changes_its_mind_stays(rig: Rig) -> None:
    """A move that is taken back before the keyframe leaves no trace."""
    with seated(rig):
        rig.frames("M")
        rig.seat.move(Place.LOW)
        rig.seat.move(Place.MAIN)
        rig.frames("LlmM")
        assert rig.low.subscriber_count == 0
    assert rig.taken == "MmM"


async def test_stills_are_the_low_rung_s_keyframes(rig: Rig) -> None:
    """And from there the way leads back to all of its frames."""
    with seated(rig):
        rig.frames("M")
        rig.seat.move(Place.STILLS)
        rig.frames("mLllLl")
        rig.seat.move(Place.LOW)
        assert rig.low.subscriber_count == 1
        rig.frames("lLl")
    assert rig.taken == "MmLLLl"


async def test_to_stop_at_stills_takes_no_keyframe(rig: Rig) -> None:
    """Who watches the low rung sees nothing more of it until its next one."""
    with seated(rig):
        rig.seat.move(Place.LOW)
        rig.frames("Ll")
        rig.seat.move(Place.STILLS)
        rig.frames("llL")
    assert rig.taken == "LlL"


async def test_keyframes_are_asked_of_the_rung_that_is_to_be_seen(rig: Rig) -> None:
    """A viewer that moves, and lost something, has the other rung's keyframe to wait for."""
    with seated(rig):
        rig.frames("M")
        rig.asked.clear()
        rig.seat.move(Place.LOW)
        rig.low._forced_at_s = rig.main._forced_at_s = float("-inf")
        rig.seat.request_keyframe()
    assert "main" not in rig.asked


async def test_leaving_leaves_both(rig: Rig) -> None:
    """Also in the middle of a move."""
    with seated(rig):
        rig.frames("M")
        rig.seat.move(Place.LOW)
    assert (rig.main.subscriber_count, rig.low.subscriber_count) == (0, 0)


async def test_who_is_flooded_gets_nothing_more_of_it(rig: Rig) -> None:
    """Not even keyframes, until the other rung has one."""
    with seated(rig):
        rig.frames("Mm")
        rig.seat.move(Place.LOW, lets_go=True)
        assert rig.low.subscriber_count == 0, "what queues on the way is to leave it first"
        rig.frames("mM")
        await until(lambda: rig.low.subscriber_count == 1)
        rig.frames("lmLlm")
    assert rig.taken == "MmLl"
    assert rig.low.subscriber_count == 0


async def test_who_leaves_while_its_way_empties_leaves_nothing(rig: Rig) -> None:
    """Nor does who is moved back."""
    with seated(rig):
        rig.frames("Mm")
        rig.seat.move(Place.LOW, lets_go=True)
        rig.seat.move(Place.MAIN)
        rig.seat.move(Place.LOW, lets_go=True)
    await asyncio.sleep(1.5 * DRAIN_S)
    assert (rig.main.subscriber_count, rig.low.subscriber_count) == (0, 0)


async def test_who_was_let_go_of_comes_back_at_a_keyframe(rig: Rig) -> None:
    """Should there be no other rung after all."""
    with seated(rig):
        rig.frames("Mm")
        rig.seat.move(Place.LOW, lets_go=True)
        rig.frames("m")
        rig.seat.move(Place.MAIN)
        rig.frames("mMm")
    assert rig.taken == "MmMm"

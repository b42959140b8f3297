"""What the hub promises its viewers, on a loop whose clock jumps over idle time."""

import asyncio
import contextlib
import selectors
from collections.abc import Coroutine
from typing import Any

import pytest

from camagent.media.frame import EncodedFrame
from camagent.media.hub import FRESH_US, JOIN_INTERVAL_S, REPAIR_INTERVAL_S, VideoHub


class SkippingSelector(selectors.DefaultSelector):
    """Waits for nothing: what it should have waited is added to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.skipped_s += timeout or 0
        return super().select(0)


class SkippingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped_s


def run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(test)


class Encoder:
    """Notes when it was asked for keyframes."""

    def __init__(self) -> None:
        self.forced_at_s: list[float] = []

    def force_keyframe(self) -> None:
        self.forced_at_s.append(asyncio.get_running_loop().time())


class Viewer:
    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []

    def take(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)


def frame(number: int, *, is_keyframe: bool = False) -> EncodedFrame:
    return EncodedFrame(b"\x00\x00\x00\x01frame", number * 33_333, is_keyframe)


def test_every_subscriber_takes_every_frame() -> None:
    """The same object goes to all, in order, while they are subscribed."""

    async def test() -> None:
        hub = VideoHub(Encoder().force_keyframe)
        early, late = Viewer(), Viewer()
        frames = [frame(number) for number in range(4)]
        with hub.subscribed(early):
            hub.publish(frames[0])
            with hub.subscribed(late):
                assert hub.subscriber_count == 2
                hub.publish(frames[1])
            hub.publish(frames[2])
        hub.publish(frames[3])

        assert early.frames == frames[:3]
        assert late.frames[0] is frames[1]
        assert len(late.frames) == 1
        assert (hub.subscriber_count, hub.frames_published) == (0, 4)

    run(test())


def test_ten_joins_cost_one_keyframe() -> None:
    """Whoever joins in the same moment shares a keyframe, which is asked for at once."""

    async def test() -> None:
        encoder = Encoder()
        hub = VideoHub(encoder.force_keyframe)
        with contextlib.ExitStack() as joined:
            for _ in range(10):
                joined.enter_context(hub.subscribed(Viewer()))
            await asyncio.sleep(10)
        assert encoder.forced_at_s == [0.0]
        assert hub.keyframes_forced == 1

    run(test())


def test_joins_in_a_row_wait_a_little() -> None:
    """A second join soon after the first gets a keyframe of its own, one interval later."""

    async def test() -> None:
        encoder = Encoder()
        hub = VideoHub(encoder.force_keyframe)
        with hub.subscribed(Viewer()):
            await asyncio.sleep(JOIN_INTERVAL_S / 4)
            with hub.subscribed(Viewer()):
                await asyncio.sleep(10)
        assert encoder.forced_at_s == pytest.approx([0.0, JOIN_INTERVAL_S])

    run(test())


def test_repairs_are_spaced() -> None:
    """A hundred requests in a second are no more than three keyframes."""

    async def test() -> None:
        encoder = Encoder()
        hub = VideoHub(encoder.force_keyframe)
        for _ in range(100):
            hub.request_keyframe()
            await asyncio.sleep(0.01)
        await asyncio.sleep(10)
        expected = [0.0, REPAIR_INTERVAL_S, 2 * REPAIR_INTERVAL_S]
        assert encoder.forced_at_s == pytest.approx(expected)

    run(test())


def test_a_join_does_not_wait_for_a_repair() -> None:
    """A join moves a repair that is due later forward, and one keyframe serves both."""

    async def test() -> None:
        encoder = Encoder()
        hub = VideoHub(encoder.force_keyframe)
        hub.request_keyframe()
        await asyncio.sleep(0.05)
        hub.request_keyframe()
        with hub.subscribed(Viewer()):
            await asyncio.sleep(10)
        assert encoder.forced_at_s == pytest.approx([0.0, JOIN_INTERVAL_S])

    run(test())


def test_a_repair_that_comes_with_a_join_is_the_joins() -> None:
    """A request while a nearer keyframe is due adds none."""

    async def test() -> None:
        encoder = Encoder()
        hub = VideoHub(encoder.force_keyframe)
        with hub.subscribed(Viewer()):
            hub.request_keyframe()
            await asyncio.sleep(10)
        assert encoder.forced_at_s == [0.0]

    run(test())


def test_who_joins_just_after_a_keyframe_starts_with_it() -> None:
    """The frames since then come at once, in order, and no other keyframe is asked for."""

    async def test() -> None:
        encoder = Encoder()
        hub = VideoHub(encoder.force_keyframe)
        frames = [frame(0), frame(1, is_keyframe=True), frame(2), frame(3)]
        for one in frames:
            hub.publish(one)
        joiner = Viewer()
        with hub.subscribed(joiner):
            assert joiner.frames == frames[1:]
            hub.publish(frame(4))
            await asyncio.sleep(10)
        assert len(joiner.frames) == 4
        assert encoder.forced_at_s == []

    run(test())


def test_what_came_too_long_ago_is_no_start() -> None:
    """Nobody starts with a burst that takes a slow way long: a new keyframe is asked for."""

    async def test() -> None:
        encoder = Encoder()
        hub = VideoHub(encoder.force_keyframe)
        hub.publish(frame(0, is_keyframe=True))
        for number in range(1, FRESH_US // 33_333 + 2):
            hub.publish(frame(number))
        joiner = Viewer()
        with hub.subscribed(joiner):
            assert joiner.frames == []
            await asyncio.sleep(10)
        assert encoder.forced_at_s == [0.0]

    run(test())


def test_who_has_seen_the_past_gets_what_comes() -> None:
    """A viewer that changes over to this stream is not shown once more what was."""

    async def test() -> None:
        encoder = Encoder()
        hub = VideoHub(encoder.force_keyframe)
        hub.publish(frame(0, is_keyframe=True))
        joiner = Viewer()
        with hub.subscribed(joiner, looks_back=False):
            assert joiner.frames == []
            await asyncio.sleep(10)
        assert encoder.forced_at_s == [0.0]

    run(test())


def test_who_is_expected_costs_no_second_keyframe() -> None:
    """It is made ahead, and serves also who joins while it is being made."""

    async def test() -> None:
        encoder = Encoder()
        hub = VideoHub(encoder.force_keyframe)
        hub.expect()
        await asyncio.sleep(JOIN_INTERVAL_S / 4)
        joiner = Viewer()
        with hub.subscribed(joiner):
            await asyncio.sleep(JOIN_INTERVAL_S / 4)
            hub.publish(frame(0, is_keyframe=True))
            await asyncio.sleep(10)
        assert len(joiner.frames) == 1
        assert encoder.forced_at_s == [0.0]

    run(test())


def test_leaving_while_a_frame_goes_round_disturbs_nobody() -> None:
    """A subscriber that leaves inside take gets no more; those after it miss nothing."""

    async def test() -> None:
        hub = VideoHub(Encoder().force_keyframe)
        others = [Viewer(), Viewer()]

        class Leaver(Viewer):
            def take(self, frame: EncodedFrame) -> None:
                super().take(frame)
                leaving.close()

        leaver = Leaver()
        with (
            hub.subscribed(others[0]),
            contextlib.ExitStack() as leaving,
        ):
            leaving.enter_context(hub.subscribed(leaver))
            with hub.subscribed(others[1]):
                hub.publish(frame(0, is_keyframe=True))
                hub.publish(frame(1))

        assert len(leaver.frames) == 1
        assert [len(other.frames) for other in others] == [2, 2]

    run(test())

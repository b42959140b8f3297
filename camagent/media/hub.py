"""Fans one encoded stream out to any number of viewers.

The encoder publishes each frame once; every subscriber takes it there and then. Nobody queues: what
a viewer cannot take now is dropped, and that viewer sits out until the next keyframe, because H.264
frames depend on those before them.

    encoder thread --hop--> hub --> subscriber --> SRTP
                                --> subscriber --> SRTP

Keyframe requests are merged and spaced: ten viewers joining at once cost the encoder one keyframe,
and a viewer that asks a hundred times a second gets no more than two. A join waits less than a
repair, for the joiner looks at nothing until then. Who joins just after a keyframe starts with the
frames since then, at once; `expect` has one made in time for that. Where no keyframe can be asked
for, a joiner starts so however old the last one is. Everything here runs on the event loop.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from camagent.media.frame import EncodedFrame
from camagent.media.group import LONGEST_US, Group

REPAIR_INTERVAL_S = 0.5
"""A keyframe forced by feedback is at least this long after the last forced one."""

JOIN_INTERVAL_S = 0.1
"""A keyframe forced by a new subscriber is at least this long after the last forced one."""

FRESH_US = 250_000
"""How long after a keyframe a joiner starts with it: what came since, it gets in one burst."""


class Subscriber(Protocol):
    """Somebody who takes every frame the moment it is encoded."""

    def take(self, frame: EncodedFrame) -> None:
        """Send or drop `frame`; never block, never raise."""


class VideoHub:
    """The one meeting point of an encoder and its viewers.

    `force_keyframe` asks the running encoder; it does nothing while there is none. `on_change` is
    told whenever somebody subscribes or leaves.
    """

    def __init__(
        self,
        force_keyframe: Callable[[], None],
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._force_keyframe = force_keyframe
        self._on_change = on_change
        self._subscribers: list[Subscriber] = []
        self._group = Group(longest_us=FRESH_US)
        self._makes_keyframes = True
        self._keyframe_due: asyncio.TimerHandle | None = None
        self._forced_at_s = float("-inf")
        self.frames_published = 0
        self.bytes_published = 0
        self.keyframes_forced = 0

    @property
    def subscriber_count(self) -> int:
        """How many take frames now."""
        return len(self._subscribers)

    def begin(self, *, keeps_group: bool) -> None:
        """Forget what came so far.

        `keeps_group`: who joins gets the frames since the last keyframe from now on, however many,
        and none is asked for.
        """
        self._group = Group(longest_us=LONGEST_US if keeps_group else FRESH_US)
        self._makes_keyframes = not keeps_group

    def expect(self) -> None:
        """Have a keyframe made for somebody who is about to join."""
        self._force_after(JOIN_INTERVAL_S)

    @contextmanager
    def subscribed(self, subscriber: Subscriber, *, looks_back: bool = True) -> Iterator[None]:
        """Hand every frame to `subscriber` while the block runs, starting with a keyframe soon.

        Not `looks_back`: with one that is yet to come, for `subscriber` has seen what was.
        """
        past = self._group.frames if looks_back or not self._makes_keyframes else ()
        if not past:
            self._force_after(JOIN_INTERVAL_S)
        for frame in past:
            subscriber.take(frame)
        self._subscribers.append(subscriber)
        self._on_change()
        try:
            yield
        finally:
            self._subscribers.remove(subscriber)
            self._on_change()

    def publish(self, frame: EncodedFrame) -> None:
        """Hand `frame` to every subscriber."""
        self.frames_published += 1
        self.bytes_published += len(frame.data)
        self._group.add(frame)
        if frame.is_keyframe and self._keyframe_due is not None:
            # It serves whoever asked so far.
            self._keyframe_due.cancel()
            self._keyframe_due = None
        for subscriber in tuple(self._subscribers):
            subscriber.take(frame)

    def request_keyframe(self) -> None:
        """Ask the encoder for a keyframe: now, or as soon as the last forced one is old enough."""
        self._force_after(REPAIR_INTERVAL_S)

    def _force_after(self, interval_s: float) -> None:
        if not self._makes_keyframes:
            return
        loop = asyncio.get_running_loop()
        due_at_s = max(loop.time(), self._forced_at_s + interval_s)
        if self._keyframe_due is not None:
            if self._keyframe_due.when() <= due_at_s:
                return
            self._keyframe_due.cancel()
        self._keyframe_due = loop.call_at(due_at_s, self._force)

    def _force(self) -> None:
        self._keyframe_due = None
        self._forced_at_s = asyncio.get_running_loop().time()
        self.keyframes_forced += 1
        self._force_keyframe()

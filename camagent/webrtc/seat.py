"""One viewer's seat before the rungs: frames come from one of them, and change over at a keyframe."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from camagent.media.frame import EncodedFrame
from camagent.media.hub import VideoHub
from camagent.webrtc.rungs import Place
from camagent.webrtc.sending import Sender

DRAIN_S = 0.2
"""A flooded way is given so long to empty its queue before the other rung's keyframe joins it."""


class Seat:
    """Hands a viewer's sender the frames of its rung.

    Moving to another rung, the viewer goes on with the one it has until the other's next keyframe,
    unless that is what floods its way.
    """

    def __init__(self, sender: Sender, main: VideoHub, low: VideoHub) -> None:
        self._sender = sender
        self._main = main
        self._low = low
        self._place = Place.MAIN
        self._current = _Feed(self, main)
        self._next: _Feed | None = None
        self._has_gap = False
        self._lets_go = False
        self._held = contextlib.ExitStack()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take frames while the block runs, of the main rung at first."""
        with self._held:
            self._current.subscribe(looks_back=True)
            self._held.callback(self._leave)
            yield

    @property
    def place(self) -> Place:
        """What the viewer gets, or will from the next keyframe on."""
        return self._place

    def request_keyframe(self) -> None:
        """Ask the rung that the viewer sees, or waits for."""
        (self._next or self._current).hub.request_keyframe()

    def move(self, place: Place, *, lets_go: bool = False) -> None:
        """Give the viewer something else from the next keyframe on; until then nothing if `lets_go`."""
        self._place, self._lets_go = place, lets_go
        hub = self._main if place is Place.MAIN else self._low
        if self._next is not None:
            self._next.leave()
            self._next = None
        if hub is not self._current.hub:
            self._next = _Feed(self, hub)
            self._next.subscribe(looks_back=False, after_s=DRAIN_S if lets_go else 0)
        elif self._has_gap:
            hub.request_keyframe()

    def take_from(self, feed: "_Feed", frame: EncodedFrame) -> None:
        """Take a frame that came from one of the rungs."""
        if feed is self._next and frame.is_keyframe:
            self._current.leave()
            self._current, self._next = feed, None
        if feed is not self._current:
            return
        is_only_stills = self._place is Place.STILLS and self._next is None
        is_let_go = self._lets_go and self._next is not None
        self._has_gap = is_let_go or ((self._has_gap or is_only_stills) and not frame.is_keyframe)
        if not self._has_gap:
            self._sender.take(frame)

    def _leave(self) -> None:
        self._current.leave()
        if self._next is not None:
            self._next.leave()


class _Feed:
    """A seat's subscription to one hub."""

    def __init__(self, seat: Seat, hub: VideoHub) -> None:
        self.hub = hub
        self._seat = seat
        self._subscription = contextlib.ExitStack()

    def subscribe(self, *, looks_back: bool, after_s: float = 0) -> None:
        if after_s:
            timer = asyncio.get_running_loop().call_later(
                after_s, lambda: self.subscribe(looks_back=looks_back)
            )
            self._subscription.callback(timer.cancel)
        else:
            self._subscription.enter_context(self.hub.subscribed(self, looks_back=looks_back))

    def leave(self) -> None:
        self._subscription.close()

    def take(self, frame: EncodedFrame) -> None:
        self._seat.take_from(self, frame)

"""Sends a viewer's packets a burst at a time: what comes too fast, a router on the way throws away."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from camagent.webrtc.layout import MOST_PACKETS_AT_ONCE, Run
from camagent.webrtc.outgoing import Outgoing
from camagent.webrtc.wire import WireFull

log = structlog.get_logger(__name__)

_BETWEEN_BURSTS_S = 0.001
_16_BITS = 0xFFFF


class Bursts:
    """Sends frames by `outgoing`; of a large one, what is more than a burst a little later.

    `on_loss` is called when packets could not be sent; the rest of the frame is given up then.
    """

    def __init__(self, outgoing: Outgoing, *, on_loss: Callable[[], None]) -> None:
        self._outgoing = outgoing
        self._on_loss = on_loss
        self._unsent: deque[tuple[Run, int]] = deque()
        self._timestamp = 0
        self._timer: asyncio.TimerHandle | None = None

    def send(self, runs: Iterable[Run], *, first: int, timestamp: int) -> None:
        """Send a frame's packets, which are numbered from `first` on, after all before them."""
        self._send_unsent(is_all=True)
        for run in runs:
            self._unsent.append((run, first & _16_BITS))
            first += len(run.places)
        self._timestamp = timestamp
        self._send_unsent(is_all=False)

    def stop(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._unsent.clear()

    def _send_unsent(self, *, is_all: bool) -> None:
        burst = 0
        while self._unsent:
            run, sequence_number = self._unsent[0]
            burst += len(run.places)
            if burst > MOST_PACKETS_AT_ONCE and burst > len(run.places) and not is_all:
                self._timer = asyncio.get_running_loop().call_later(_BETWEEN_BURSTS_S, self._go_on)
                return
            self._unsent.popleft()
            try:
                self._outgoing.send(run, sequence_number=sequence_number, timestamp=self._timestamp)
            except (WireFull, OSError) as error:
                log.debug("sender.frame_lost", cause=repr(error))
                self._lose()
            except ValueError as error:
                log.warning("sender.cannot_encrypt", cause=str(error))
                self._lose()

    def _go_on(self) -> None:
        self._send_unsent(is_all=False)

    def _lose(self) -> None:
        self._unsent.clear()
        self._on_loss()

"""Tells systemd, and whoever asks on this machine, how the agent is; and lets it be restarted.

The watchdog is kept quiet only while every part moves. This runs on the agent's event loop, so that
a loop that is blocked keeps nothing quiet either.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog

from camagent.notify import Notifier
from camagent.presence import CameraWord
from camagent.progress import Progress
from camagent.status import AgentStatus, write_status

log = structlog.get_logger(__name__)

_LONGEST_INTERVAL_S = 2.0
_SHORTEST_INTERVAL_S = 0.25
_PINGS_PER_WATCHDOG = 3


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How the agent is, as its parts know it.

    Attributes:
        problem: why the server cannot be reached, if it cannot.
        bytes_encoded: of the camera's stream since the start.
        temperature: of the processor in degrees Celsius.
    """

    is_online: bool
    problem: str | None
    camera: CameraWord
    camera_problem: str | None
    viewers: int
    bytes_encoded: int
    temperature: float | None


class Service:
    """The agent as systemd sees it.

    `parts` are the promises that have to be kept, by name. `describe` gives the condition; call
    `changed` when it did.
    """

    def __init__(
        self,
        *,
        device_id: str,
        server_url: str,
        parts: Mapping[str, Progress],
        describe: Callable[[], Condition],
        notifier: Notifier,
        folder: Path | None,
    ) -> None:
        self._device_id = device_id
        self._server_url = server_url
        self._parts = parts
        self._describe = describe
        self._notifier = notifier
        self._folder = folder
        self._has_changed = asyncio.Event()
        self._stuck: list[str] = []
        self._text = ""
        self._bytes_encoded = 0
        self._measured_at_s: float | None = None

    def changed(self) -> None:
        """Tell soon how the agent is now."""
        self._has_changed.set()

    def ready(self) -> None:
        """Tell that the start is over."""
        self._notifier.ready()
        self.changed()

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._notifier.stopping()
        self._notifier.status("stopping")

    async def run(self) -> NoReturn:
        """Tell how the agent is, and that it is alive if it is, until cancelled."""
        watchdog_s = self._notifier.watchdog_s
        interval_s = _LONGEST_INTERVAL_S
        if watchdog_s is not None:
            interval_s = min(interval_s, watchdog_s / _PINGS_PER_WATCHDOG)
        while True:
            self._has_changed.clear()
            if self._is_alive():
                self._notifier.alive()
            self._tell()
            await asyncio.sleep(_SHORTEST_INTERVAL_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s - _SHORTEST_INTERVAL_S):
                    await self._has_changed.wait()

    def _is_alive(self) -> bool:
        stuck = [name for name, progress in self._parts.items() if progress.is_stuck]
        if stuck and stuck != self._stuck:
            log.error("service.stuck", parts=" ".join(stuck), watchdog_s=self._notifier.watchdog_s)
        self._stuck = stuck
        return not stuck

    def _tell(self) -> None:
        condition = self._describe()
        text = status_line(condition, bits_per_second=self._rate(condition.bytes_encoded))
        if text == self._text:
            return
        self._text = text
        self._notifier.status(text)
        if self._folder is not None:
            status = AgentStatus(
                pid=os.getpid(),
                device_id=self._device_id,
                server_url=self._server_url,
                is_online=condition.is_online,
                problem=condition.problem,
                camera=condition.camera,
                camera_problem=condition.camera_problem,
                viewers=condition.viewers,
                text=text,
            )
            # A file that cannot be written is nothing that viewers should suffer from.
            with contextlib.suppress(OSError):
                write_status(self._folder, status)

    def _rate(self, bytes_encoded: int) -> float:
        """Measure the stream since the last time, in bits per second."""
        now_s = asyncio.get_running_loop().time()
        since_s, self._measured_at_s = self._measured_at_s, now_s
        count, self._bytes_encoded = bytes_encoded - self._bytes_encoded, bytes_encoded
        return 0.0 if since_s is None or now_s <= since_s else count * 8 / (now_s - since_s)


def status_line(condition: Condition, *, bits_per_second: float) -> str:
    """Say it all in one line: `online · 2 viewers · 1.8 Mbps · 52 °C · camera ok`."""
    words = ["online" if condition.is_online else _offline(condition.problem)]
    words.append(_viewers(condition.viewers))
    if condition.viewers and bits_per_second:
        words.append(f"{bits_per_second / 1e6:.1f} Mbps")
    if condition.temperature is not None:
        words.append(f"{condition.temperature:.0f} °C")
    words.append(_camera(condition.camera, condition.camera_problem))
    return " · ".join(words)


def _offline(problem: str | None) -> str:
    return f"offline, retrying: {problem}" if problem else "connecting"


def _viewers(count: int) -> str:
    if count == 0:
        return "no viewers"
    return "1 viewer" if count == 1 else f"{count} viewers"


def _camera(word: CameraWord, problem: str | None) -> str:
    match word:
        case "idle" | "live":
            return "camera ok"
        case "error":
            return f"camera error: {problem}" if problem else "camera error"
        case _:
            return f"camera {word}"

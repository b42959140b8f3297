"""Figures for Prometheus, on a local port, where the settings ask for it."""

import asyncio
import concurrent.futures
import contextlib
import errno
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from camagent.errors import SettingsError
from camagent.trouble import Trouble

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import Metric

_ANSWER_DEADLINE_S = 2.0
_WRONG_BY_ITSELF = {errno.EACCES, errno.EADDRINUSE}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is counted, at one moment.

    Attributes:
        connections: how often the server accepted the hello.
        sessions_ended: by how they ended.
        sent_frames: handed to viewers' peer connections, and so `sent_bytes` of H.264.
        encoded_frames: by the one encoder, and so `encoded_bytes`.
    """

    is_online: bool
    connections: int
    viewers: int
    sessions_ended: dict[str, int] = field(default_factory=dict)
    sent_frames: int
    sent_bytes: int
    dropped_frames: int
    encoded_frames: int
    encoded_bytes: int
    keyframes_forced: int
    camera_is_open: bool
    camera_restarts: int
    temperature: float | None


@asynccontextmanager
async def served(
    host: str, port: int, figures: Callable[[], Figures], *, retry_delay_s: float = 10.0
) -> AsyncIterator[None]:
    """Answer Prometheus on `host` and `port` while the block runs, from a thread of its own.

    An address that this machine does not have, as may be soon after its start, or a name that is not
    found, is tried again all the while. `figures` is called on the event loop only.

    Raises:
        SettingsError: the port is taken, or not for this user, or `host` can be no name.
    """
    # Imported where it is used: an agent without metrics saves the memory.
    from prometheus_client import (  # noqa: PLC0415
        GC_COLLECTOR,
        PROCESS_COLLECTOR,
        CollectorRegistry,
        start_http_server,
    )

    registry = CollectorRegistry()
    for collector in (GC_COLLECTOR, PROCESS_COLLECTOR, _Collector(figures)):
        registry.register(collector)
    listening: list[tuple[WSGIServer, threading.Thread]] = []

    async def listen() -> OSError | None:
        # On a thread, for names are looked up.
        start = partial(start_http_server, port, addr=host, registry=registry)
        try:
            listening.append(await asyncio.to_thread(start))
        except OSError as error:
            return error
        return None

    try:
        problem = await listen()
    except UnicodeError as error:
        raise SettingsError([f"CAMAGENT_METRICS_HOST={host}: no name can be so"]) from error
    if problem is not None and problem.errno in _WRONG_BY_ITSELF:
        text = f"CAMAGENT_METRICS_PORT={port}: cannot listen on {host}: {problem.strerror}"
        raise SettingsError([f"{text}; free it, or choose another"]) from problem
    is_over = asyncio.Event()
    trying = asyncio.create_task(_try_again(listen, problem, host, is_over, retry_delay_s))
    try:
        yield
    finally:
        is_over.set()
        await trying
        for server, thread in listening:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()


async def _try_again(
    listen: Callable[[], Awaitable[OSError | None]],
    problem: OSError | None,
    host: str,
    is_over: asyncio.Event,
    delay_s: float,
) -> None:
    """Have `listen` try until it has no `problem`, or all is over."""
    trouble = Trouble()
    while problem is not None:
        cause = problem.strerror or str(problem)
        trouble.tell("metrics.not_served", cause, host=host, retry_in_s=delay_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await is_over.wait()
                return
        problem = await listen()


class _Collector:
    """What the client library asks each time that it is asked."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures
        self._loop = asyncio.get_running_loop()

    def describe(self) -> Iterable["Metric"]:
        """Name nothing in advance, which spares a first call."""
        return ()

    def collect(self) -> Iterable["Metric"]:
        """Ask for the figures on the loop, where they change, and lay them out."""
        answer: concurrent.futures.Future[Figures] = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(lambda: answer.set_result(self._figures()))
        return metrics_of(answer.result(_ANSWER_DEADLINE_S))


def metrics_of(figures: Figures) -> Iterable["Metric"]:
    """Lay the figures out under the names that dashboards know them by."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    gauges: dict[str, tuple[str, float | None]] = {
        "online": ("1 while the server has accepted this device", figures.is_online),
        "viewers": ("Sessions that hold a place", figures.viewers),
        "camera_open": ("1 while the camera is open", figures.camera_is_open),
        "temperature_celsius": ("Of the processor", figures.temperature),
    }
    counters: dict[str, tuple[str, float]] = {
        "connections": ("Times that the server accepted the hello", figures.connections),
        "camera_restarts": ("Times that a stalled camera was reopened", figures.camera_restarts),
        "encoded_frames": ("Frames of the one encoder", figures.encoded_frames),
        "encoded_bytes": ("Bytes of H.264 of the one encoder", figures.encoded_bytes),
        "forced_keyframes": ("Keyframes that viewers caused", figures.keyframes_forced),
        "sent_frames": ("Frames handed to viewers", figures.sent_frames),
        "sent_bytes": ("Bytes of H.264 handed to viewers", figures.sent_bytes),
        "dropped_frames": ("Frames kept from viewers that fell behind", figures.dropped_frames),
    }
    for name, (text, value) in gauges.items():
        if value is not None:
            yield GaugeMetricFamily(f"camagent_{name}", text, value=float(value))
    for name, (text, count) in counters.items():
        yield CounterMetricFamily(f"camagent_{name}", text, value=count)
    ended = CounterMetricFamily("camagent_sessions", "Sessions by how they ended", labels=["how"])
    for outcome, times in figures.sessions_ended.items():
        ended.add_metric([outcome], times)
    yield ended

"""Builds every part of the agent, and runs them until one fails or somebody says stop."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NoReturn

import structlog

from camagent import __version__
from camagent.errors import CameraError, CameraRefused, SettingsError
from camagent.health_log import Changes
from camagent.media.capture import Capture
from camagent.media.capture_state import CaptureState
from camagent.media.finding import find_pi_camera
from camagent.media.picamera import PiCamera
from camagent.media.snapshot import take_snapshot
from camagent.metrics import Figures, served
from camagent.notify import Notifier
from camagent.presence import CameraWord, describe_device, processor_temperature
from camagent.privacy import SWITCHED_OFF, InUseLight, KillSwitch
from camagent.service import Condition, Service
from camagent.settings import Settings
from camagent.signaling.backoff import backoff
from camagent.signaling.lifecycle import LinkState
from camagent.signaling.link import Link
from camagent.signaling.messages import DevicePresence
from camagent.signaling.router import Router
from camagent.snapshot.server import serve_snapshots
from camagent.webrtc.registry import SessionRegistry
from camagent.webrtc.session import SessionLimits
from camagent.wiring import (
    choose_source,
    conduct,
    link_options,
    open_deadline_s,
    peer_options,
)

log = structlog.get_logger(__name__)

_LONGEST_CAMERA_RETRY_DELAY_S = 30.0
_STOP_DEADLINE_S = 4.0
_HEALTH_INTERVAL_S = 15.0
_LOOK_INTERVAL_S = 60.0
_CAMERA_WORDS: dict[CaptureState, CameraWord] = {
    CaptureState.IDLE: "idle",
    CaptureState.STARTING: "starting",
    CaptureState.LIVE: "live",
    CaptureState.LINGERING: "live",
    CaptureState.FAILED: "error",
}


class Agent:
    """One device: its camera, its link and its viewers.

    `notifier` is the line to systemd; in `runtime_folder` lie the agent's own status
    and the socket that gives snapshots.

    Raises:
        SettingsError: picamera2 is missing, or a certificate or light cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        notifier: Notifier | None = None,
        runtime_folder: Path | None = None,
    ) -> None:
        structlog.contextvars.bind_contextvars(device_id=settings.device_id)
        self._source = choose_source(settings.video, settings.camera, device_id=settings.device_id)
        self._capture = Capture(
            self._source,
            linger_s=settings.video.linger_s,
            is_always_on=settings.video.always_on,
            stall_after_s=settings.video.stall_after_s,
            open_deadline_s=open_deadline_s(settings.video),
            retry_delays=partial(backoff, longest_s=_LONGEST_CAMERA_RETRY_DELAY_S),
            on_change=self._changed,
        )
        self._registry = SessionRegistry(
            camera=self._capture,
            conductor=conduct(self._capture, settings.video),
            max_viewers=settings.max_viewers,
            options=peer_options(settings),
            limits=SessionLimits(longest_s=settings.longest_session_s),
            grace_s=settings.session_grace_s,
            on_change=self._changed,
        )
        router = Router(self._registry, on_change=self._link_changed)
        self._link = Link(link_options(settings), router, self._describe)
        self._registry.send = self._link.send
        self._service = Service(
            device_id=settings.device_id,
            server_url=settings.server_url,
            parts={"link": self._link.progress, "camera": self._capture.progress},
            describe=self._condition,
            notifier=notifier or Notifier({}),
            folder=runtime_folder,
        )
        self._runtime_folder = runtime_folder
        self._light = InUseLight(settings.in_use_led) if settings.in_use_led else None
        self._kill_switch: KillSwitch | None = None
        if settings.kill_switch_file is not None:
            self._kill_switch = KillSwitch(settings.kill_switch_file, self._switch)
        self._metrics_at = settings.metrics_host, settings.metrics_port
        self._asked_to_stop = asyncio.Event()

    @property
    def link(self) -> Link:
        """The connection to the server."""
        return self._link

    @property
    def capture(self) -> Capture:
        """The camera."""
        return self._capture

    @property
    def registry(self) -> SessionRegistry:
        """The viewers."""
        return self._registry

    def stop(self) -> None:
        """Let `run` come to its end: sessions and camera close, the server is told."""
        self._asked_to_stop.set()

    async def run(self) -> None:
        """Serve viewers until `stop`; a part that fails ends all of them with its error.

        Raises:
            SettingsError: the camera or port that the settings name cannot be used.
        """
        log.info("agent.started", version=__version__, source=self._source.name)
        if self._kill_switch is not None:
            # Before anybody can ask for a picture.
            self._kill_switch.look()
        async with self._shown(), self._metrics(), asyncio.TaskGroup() as tasks:
            parts = [
                tasks.create_task(self._run_camera(), name="capture"),
                tasks.create_task(self._registry.run(), name="registry"),
                tasks.create_task(self._link.run(), name="link"),
                tasks.create_task(self._service.run(), name="service"),
                tasks.create_task(self._settle(), name="settle"),
                tasks.create_task(self._watch_health(), name="health"),
            ]
            if self._kill_switch is not None:
                parts.append(tasks.create_task(self._kill_switch.run(), name="kill-switch"))
            if self._runtime_folder is not None:
                take = partial(take_snapshot, self._capture)
                serving = serve_snapshots(self._runtime_folder, take)
                parts.append(tasks.create_task(serving, name="snapshots"))
            await self._asked_to_stop.wait()
            log.info("agent.stopping", viewers=self._registry.viewer_count)
            self._service.stopping()
            for part in parts:
                part.cancel()
        log.info("agent.stopped")

    async def _settle(self) -> None:
        """Count as started once the server accepted us, or cannot be reached for now."""
        await self._link.until_settled()
        self._service.ready()

    async def _run_camera(self) -> NoReturn:
        """Have the camera looked at, and only then let viewers have it: two cannot open it."""
        if isinstance(self._source, PiCamera):
            await self._look_for(self._source)
        await self._capture.run()

    async def _look_for(self, camera: PiCamera) -> None:
        """Find out before the first viewer does what keeps the camera from serving.

        Raises:
            SettingsError: the camera cannot do what the settings ask of it.
        """
        try:
            await find_pi_camera(camera, may_open=not self._capture.is_barred)
        except CameraRefused as refused:
            raise SettingsError(refused.problems) from refused
        except CameraError as error:
            look = partial(find_pi_camera, camera, may_open=True)
            self._capture.suspect(str(error), look=look, look_interval_s=_LOOK_INTERVAL_S)

    @asynccontextmanager
    async def _shown(self) -> AsyncIterator[None]:
        """Put the light out before and after the block."""
        if self._light is None:
            yield
            return
        self._light.show(is_lit=False)
        try:
            yield
        finally:
            self._light.show(is_lit=False)

    def _metrics(self) -> AbstractAsyncContextManager[None]:
        host, port = self._metrics_at
        return nullcontext() if port is None else served(host, port, self._figures)

    def _link_changed(self) -> None:
        self._service.changed()

    def _changed(self) -> None:
        self._link.presence_changed()
        self._service.changed()
        if self._light is not None:
            self._light.show(is_lit=self._capture.is_open)

    def _switch(self, is_off: bool) -> None:  # noqa: FBT001 - it is the switch's position
        self._capture.bar(is_barred=is_off)
        if is_off:
            self._registry.close_doors(SWITCHED_OFF)
        else:
            self._registry.open_doors()
        self._changed()

    @property
    def _camera(self) -> CameraWord:
        if self._kill_switch is not None and self._kill_switch.is_on:
            return "off"
        if self._capture.problem is not None:
            return "error"
        return _CAMERA_WORDS[self._capture.state]

    async def _watch_health(self) -> NoReturn:
        """Log what becomes of this machine, whether or not a server wants to know."""
        changes = Changes()
        while True:
            changes.tell(self._describe())
            await asyncio.sleep(_HEALTH_INTERVAL_S)

    def _describe(self) -> DevicePresence.Payload:
        return describe_device(
            camera=self._camera,
            camera_problem=self._capture.problem,
            viewers=self._registry.viewer_count,
        )

    def _condition(self) -> Condition:
        return Condition(
            is_online=self._link.state is LinkState.ACTIVE,
            problem=self._link.problem,
            camera=self._camera,
            camera_problem=self._capture.problem,
            viewers=self._registry.viewer_count,
            bytes_encoded=self._capture.hub.bytes_published,
            temperature=processor_temperature(),
        )

    def _figures(self) -> Figures:
        totals, hub = self._registry.totals(), self._capture.hub
        return Figures(
            is_online=self._link.state is LinkState.ACTIVE,
            connections=self._link.connections,
            viewers=self._registry.viewer_count,
            sessions_ended=dict(totals.ended),
            sent_frames=totals.frames,
            sent_bytes=totals.bytes,
            dropped_frames=totals.frames_dropped,
            encoded_frames=hub.frames_published,
            encoded_bytes=hub.bytes_published,
            keyframes_forced=hub.keyframes_forced,
            camera_is_open=self._capture.is_open,
            camera_restarts=self._capture.restarts,
            temperature=processor_temperature(),
        )


async def run_agent(settings: Settings) -> None:
    """Run an agent until SIGTERM or SIGINT, as a service where systemd started it."""
    runtime_folder = os.environ.get("RUNTIME_DIRECTORY")
    agent = Agent(
        settings,
        notifier=Notifier(),
        runtime_folder=Path(runtime_folder) if runtime_folder else None,
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        agent.stop()
        loop.call_later(_STOP_DEADLINE_S, _abandon)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await agent.run()


def _abandon() -> None:
    """End the process at once: whatever still hangs, such as a camera, would hold it for long."""
    log.warning("agent.stop_abandoned", after_s=_STOP_DEADLINE_S)
    os._exit(0)

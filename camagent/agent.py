"""Builds every part of the agent, and runs them until one fails or somebody says stop."""

import asyncio
import signal
import ssl
from functools import partial

import structlog

from camagent import __version__
from camagent.errors import SettingsError
from camagent.media.capture import Capture, CaptureState
from camagent.media.container import ContainerSource
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import VideoSource
from camagent.media.picamera import PiCamera, pi_camera_problem
from camagent.media.synthetic import SyntheticSource
from camagent.presence import describe_device
from camagent.settings import Settings, VideoSettings
from camagent.signaling.backoff import backoff
from camagent.signaling.link import Link, LinkOptions
from camagent.signaling.messages import DevicePresence
from camagent.signaling.router import Router
from camagent.webrtc.peer import warm_up
from camagent.webrtc.registry import SessionRegistry
from camagent.webrtc.session import SessionLimits

log = structlog.get_logger(__name__)

_LONGEST_CAMERA_RETRY_DELAY_S = 30.0
_CAMERA_WORDS = {
    CaptureState.IDLE: "idle",
    CaptureState.STARTING: "starting",
    CaptureState.LIVE: "live",
    CaptureState.LINGERING: "live",
    CaptureState.FAILED: "error",
}


class Agent:
    """One device: its camera, its link and its viewers.

    Raises:
        SettingsError: the camera or a certificate that the settings name cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        structlog.contextvars.bind_contextvars(device_id=settings.device_id)
        self._source = choose_source(settings.video)
        self._capture = Capture(
            self._source,
            linger_s=settings.video.linger_s,
            is_always_on=settings.video.always_on,
            stall_after_s=settings.video.stall_after_s,
            retry_delays=partial(backoff, longest_s=_LONGEST_CAMERA_RETRY_DELAY_S),
            on_change=self._changed,
        )
        self._registry = SessionRegistry(
            camera=self._capture,
            max_viewers=settings.max_viewers,
            policy=settings.ice_transport_policy,
            limits=SessionLimits(longest_s=settings.longest_session_s),
            grace_s=settings.session_grace_s,
            on_change=self._changed,
        )
        self._link = Link(link_options(settings), Router(self._registry), self._describe)
        self._registry.send = self._link.send
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
        """Serve viewers until `stop`; a part that fails ends all of them with its error."""
        log.info("agent.started", version=__version__, source=self._source.name)
        async with asyncio.TaskGroup() as tasks:
            parts = [
                tasks.create_task(warm_up(), name="warm-up"),
                tasks.create_task(self._capture.run(), name="capture"),
                tasks.create_task(self._registry.run(), name="registry"),
                tasks.create_task(self._link.run(), name="link"),
            ]
            await self._asked_to_stop.wait()
            log.info("agent.stopping", viewers=self._registry.viewer_count)
            for part in parts:
                part.cancel()
        log.info("agent.stopped")

    def _changed(self) -> None:
        self._link.presence_changed()

    def _describe(self) -> DevicePresence.Payload:
        return describe_device(
            camera=_CAMERA_WORDS[self._capture.state],
            camera_problem=self._capture.problem,
            viewers=self._registry.viewer_count,
        )


async def run_agent(settings: Settings) -> None:
    """Run an agent until SIGTERM or SIGINT."""
    agent = Agent(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()


def choose_source(video: VideoSettings) -> VideoSource:
    """Pick where pictures come from; `auto` is the Pi camera or an error, never a surprise.

    Raises:
        SettingsError: `auto` found no camera.
    """
    options = EncoderOptions(
        width_px=video.width_px,
        height_px=video.height_px,
        frames_per_second=video.frames_per_second,
        bitrate_bps=video.bitrate_bps,
        keyframe_interval_s=video.keyframe_interval_s,
    )
    match video.source:
        case "synthetic":
            return SyntheticSource(options)
        case "container":
            assert video.url is not None, "settings see to it"
            return ContainerSource(options, url=video.url.get_secret_value())
        case "auto":
            if problem := pi_camera_problem():
                otherwise = "a USB or RTSP camera (container) or a test picture (synthetic)"
                raise SettingsError(
                    [f"CAMAGENT_VIDEO__SOURCE=auto: {problem}; or set it to {otherwise}"]
                )
    return PiCamera(options, camera_number=video.camera_number)


def link_options(settings: Settings) -> LinkOptions:
    """Tell the link what it needs of the settings.

    Raises:
        SettingsError: a certificate file holds no usable certificate.
    """
    token = settings.device_token
    return LinkOptions(
        url=settings.server_url,
        device_id=settings.device_id,
        device_token=token.get_secret_value() if token else None,
        tls=_tls(settings) if settings.server_url.startswith("wss:") else None,
        heartbeat_interval_s=settings.heartbeat_interval_s,
        presence_interval_s=settings.presence_interval_s,
        first_retry_delay_s=settings.first_retry_delay_s,
        longest_retry_delay_s=settings.longest_retry_delay_s,
    )


def _tls(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.server_ca_file is not None:
        try:
            context.load_verify_locations(settings.server_ca_file)
        except ssl.SSLError as error:
            path = settings.server_ca_file
            raise SettingsError(
                [f"CAMAGENT_SERVER_CA_FILE={path}: no certificate in PEM form in it"]
            ) from error
    if settings.client_cert_file is not None:
        try:
            context.load_cert_chain(settings.client_cert_file, settings.client_key_file)
        except ssl.SSLError as error:
            path = settings.client_cert_file
            problem = "no certificate in PEM form with its key (or see CAMAGENT_CLIENT_KEY_FILE)"
            raise SettingsError([f"CAMAGENT_CLIENT_CERT_FILE={path}: {problem}"]) from error
    return context

"""How settings become parts: which source they mean, and what the link needs of them."""

import ssl
from dataclasses import replace

from camagent.camera_settings import CameraSettings
from camagent.errors import SettingsError
from camagent.media.capture import Capture
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import VideoSource
from camagent.media.picamera import CameraWishes, PiCamera, picamera2_problem
from camagent.processor import has_aes_instructions
from camagent.settings import Settings, VideoSettings, split_patterns
from camagent.signaling.options import LinkOptions
from camagent.webrtc.bitrate import RateLimits
from camagent.webrtc.conductor import Conductor
from camagent.webrtc.interfaces import InterfaceFilter
from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.rungs import RungSize


def choose_source(
    video: VideoSettings, camera: CameraSettings, *, device_id: str = ""
) -> VideoSource:
    """Pick where pictures come from; `auto` is the Pi camera, never a surprise.

    `camera` is for that one alone; `device_id` is what an overlay shows beside the time.

    Raises:
        SettingsError: `auto` found no picamera2.
    """
    options = replace(encoder_options(video), overlay=device_id if video.overlay else None)
    match video.source:
        case "synthetic":
            # Imported where they are chosen: these load numpy, which an idle Pi can do without.
            from camagent.media.synthetic import SyntheticSource  # noqa: PLC0415

            return SyntheticSource(options)
        case "container":
            from camagent.media.container import ContainerSource  # noqa: PLC0415

            assert video.url is not None, "settings see to it"
            return ContainerSource(
                options, url=video.url.get_secret_value(), passes_through=not video.transcode
            )
        case "auto":
            if problem := picamera2_problem():
                otherwise = "a USB or RTSP camera (container) or a test picture (synthetic)"
                raise SettingsError(
                    [f"CAMAGENT_VIDEO__SOURCE=auto: {problem}; or set it to {otherwise}"]
                )
    return PiCamera(options, camera_wishes(camera))


def camera_wishes(camera: CameraSettings) -> CameraWishes:
    """Hand on what is asked of the camera, with the names that its refusals shall use."""
    names = {name: f"CAMAGENT_CAMERA__{name.upper()}" for name in CameraSettings.model_fields}
    names |= {name: f"CAMAGENT_VIDEO__{name.upper()}" for name in VideoSettings.model_fields}
    return CameraWishes(**camera.model_dump(mode="json"), names=names)


def open_deadline_s(video: VideoSettings) -> float:
    """Tell after how long a call into the source is stuck for good; the process ends then.

    A network camera takes its time, and FFmpeg has a deadline of its own for each step of it.
    """
    is_on_network = video.url is not None and "://" in video.url.get_secret_value()
    return 40.0 if video.source == "container" and is_on_network else 10.0


def conduct(capture: Capture, video: VideoSettings) -> Conductor:
    """Let the rungs of `capture` follow the viewers within the settings' bounds."""
    options = encoder_options(video)
    return Conductor(
        capture,
        capture.low,
        limits=RateLimits(
            floor_bps=min(video.lowest_bitrate_bps, video.bitrate_bps),
            start_bps=min(video.start_bitrate_bps, video.bitrate_bps),
            ceiling_bps=video.bitrate_bps,
        ),
        main_size=_size(options),
        low_size=None if video.single_rung else _size(options.low()),
    )


def peer_options(settings: Settings) -> PeerOptions:
    """Tell every peer connection what it needs of the settings."""
    return PeerOptions(
        policy=settings.ice_transport_policy,
        interfaces=interface_filter(settings),
        level=encoder_options(settings.video).level,
        asks_to_show_at_once=not settings.video.smooth,
        prefers_gcm=has_aes_instructions(),
    )


def _size(options: EncoderOptions) -> RungSize:
    return RungSize(
        width_px=options.width_px,
        height_px=options.height_px,
        frames_per_second=options.frames_per_second,
        ceiling_bps=options.bitrate_bps,
    )


def interface_filter(settings: Settings) -> InterfaceFilter:
    """Say which addresses of this machine viewers are told."""
    return InterfaceFilter(
        allowed=split_patterns(settings.ice_interfaces),
        denied=split_patterns(settings.ice_excluded_interfaces),
    )


def encoder_options(video: VideoSettings) -> EncoderOptions:
    """Tell the encoder what it needs of the settings."""
    return EncoderOptions(
        width_px=video.width_px,
        height_px=video.height_px,
        frames_per_second=video.frames_per_second,
        bitrate_bps=video.bitrate_bps,
        keyframe_interval_s=video.keyframe_interval_s,
    )


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

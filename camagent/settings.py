"""What an operator may change: units in the names, limits in the types, what is right in words."""

import ipaddress
import math
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    FilePath,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import SettingsConfigDict

from camagent.camera_settings import CameraSettings
from camagent.camera_url import check_camera_url
from camagent.configuration import EnvironmentSettings
from camagent.logs import LogFormat


def split_patterns(patterns: str) -> tuple[str, ...]:
    """Take a list that is separated by commas apart."""
    return tuple(pattern.strip() for pattern in patterns.split(",") if pattern.strip())


Seconds = Annotated[float, Field(gt=0, le=86_400 * 365, allow_inf_nan=False)]

# H.264 level 4.0, which holds 1920x1080 at 30 (ITU-T H.264, table A-1).
_MAX_MACROBLOCKS = 8_192
_MAX_MACROBLOCKS_PER_SECOND = 245_760
_DEVICE_PATH = "/ws/device"


def _with_device_path(url: str) -> str:
    """Check a server's base URL and add the protocol's path, unless the URL has one."""
    if any(character.isspace() for character in url.strip()):
        raise ValueError("there is a space in it")
    parts = urlsplit(url.strip())
    if parts.scheme not in {"ws", "wss"}:
        raise ValueError("the scheme has to be ws:// or wss://")
    if not parts.hostname:
        raise ValueError("the host is missing")
    if parts.username or parts.password:
        raise ValueError("a password does not belong in the URL; use CAMAGENT_DEVICE_TOKEN")
    _ = parts.port  # ValueError if it is no port
    path = parts.path if parts.path not in {"", "/"} else _DEVICE_PATH
    return parts._replace(path=path, fragment="").geturl()


def _with_real_prefixes(patterns: str) -> str:
    for pattern in split_patterns(patterns):
        if "/" in pattern:
            ipaddress.ip_network(pattern)
    return patterns


Patterns = Annotated[str, Field(max_length=512), AfterValidator(_with_real_prefixes)]


class VideoSettings(BaseModel, frozen=True, extra="forbid"):
    """How the one shared H.264 stream is captured and encoded."""

    source: Literal["auto", "picamera", "container", "synthetic"] = Field(
        default="auto",
        description="where pictures come from: auto (the Pi camera), picamera, "
        "container (CAMAGENT_VIDEO__URL) or synthetic (a test picture)",
    )
    url: SecretStr | None = Field(
        default=None,
        description="for source=container: /dev/video0, rtsp://… or the path of a video file",
    )
    transcode: bool = Field(
        default=False,
        description="true encodes H.264 of a network camera or file anew even where it fits as "
        "it is; default false",
    )
    width_px: int = Field(
        default=1280, ge=160, le=4096, multiple_of=2, description="even, 160 or more; default 1280"
    )
    height_px: int = Field(
        default=720, ge=120, le=4096, multiple_of=2, description="even, 120 or more; default 720"
    )
    frames_per_second: int = Field(default=30, ge=1, le=60, description="1 to 60; default 30")
    bitrate_bps: int = Field(
        default=2_000_000,
        ge=100_000,
        le=10_000_000,
        description="the most that is encoded, 100000 to 10000000 bits per second; default 2000000",
    )
    start_bitrate_bps: int = Field(
        default=800_000,
        ge=50_000,
        le=10_000_000,
        description="what a viewer is sent at first, 50000 to 10000000 bits per second; "
        "default 800000",
    )
    lowest_bitrate_bps: int = Field(
        default=100_000,
        ge=50_000,
        le=10_000_000,
        description="the least that is encoded, 50000 to 10000000 bits per second; whose network "
        "takes less gets a still picture now and then; default 100000",
    )
    single_rung: bool = Field(
        default=False,
        description="true makes no smaller picture for viewers whose network is slow; default false",
    )
    keyframe_interval_s: float = Field(
        default=10.0,
        ge=0.5,
        le=60,
        description="seconds between keyframes that nobody asked for, 0.5 to 60; default 10",
    )
    smooth: bool = Field(
        default=False,
        description="true lets browsers smooth the pace of pictures, which costs delay; false "
        "asks them to show each at once; default false",
    )
    overlay: bool = Field(
        default=False,
        description="true draws the time and the device's name into pictures that libx264 "
        "encodes; default false",
    )
    linger_s: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="seconds that the camera stays on after the last viewer; default 10",
    )
    always_on: bool = Field(
        default=False, description="true keeps the camera on without viewers; default false"
    )
    stall_after_s: float = Field(
        default=3.0,
        ge=0.5,
        le=60,
        description="seconds without a frame after which the camera is reopened; default 3",
    )

    @field_validator("url")
    @classmethod
    def _has_a_clear_host(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_camera_url(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _fits_the_level(self) -> Self:
        macroblocks = math.ceil(self.width_px / 16) * math.ceil(self.height_px / 16)
        per_second = macroblocks * self.frames_per_second
        if macroblocks > _MAX_MACROBLOCKS or per_second > _MAX_MACROBLOCKS_PER_SECOND:
            raise ValueError(
                f"{self.width_px}x{self.height_px} at {self.frames_per_second} frames per second "
                "is more than H.264 level 4.0 holds; at most 1920x1080 at 30 or 1280x720 at 60"
            )
        return self

    @model_validator(mode="after")
    def _has_what_the_source_needs(self) -> Self:
        if self.source == "container" and self.url is None:
            raise ValueError(
                "source=container needs CAMAGENT_VIDEO__URL: /dev/video0, rtsp://… or a video file"
            )
        return self


class Settings(EnvironmentSettings):
    """Read once at the start, from the command line, `CAMAGENT_*` and an env file."""

    model_config = SettingsConfigDict(env_prefix="CAMAGENT_", env_nested_delimiter="__")

    device_id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$",
        description="the name under which the server knows this device, such as kitchen-cam-001",
    )
    server_url: Annotated[str, AfterValidator(_with_device_path)] = Field(
        description="the server's address, such as wss://relay.example.com or "
        "ws://192.168.1.10:8000; /ws/device is added unless it has a path"
    )
    device_token: SecretStr | None = Field(
        default=None, description="the token that the server gave out for this device, if any"
    )
    server_ca_file: FilePath | None = Field(
        default=None,
        description="a PEM file with further certificate authorities to trust for wss://",
    )
    client_cert_file: FilePath | None = Field(
        default=None, description="a PEM file with this device's certificate for wss://"
    )
    client_key_file: FilePath | None = Field(
        default=None, description="a PEM file with the certificate's key, if that file lacks it"
    )
    max_viewers: int = Field(
        default=8, ge=1, le=256, description="viewers at the same time, 1 to 256; default 8"
    )
    heartbeat_interval_s: Seconds = Field(
        default=30.0, description="seconds between heartbeats, more than 0; default 30"
    )
    presence_interval_s: Seconds = Field(
        default=60.0, description="seconds between presence reports, more than 0; default 60"
    )
    first_retry_delay_s: Seconds = Field(
        default=1.0, description="ceiling of the first reconnect delay in seconds; default 1"
    )
    longest_retry_delay_s: Seconds = Field(
        default=60.0, description="ceiling of every reconnect delay in seconds; default 60"
    )
    session_grace_s: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="seconds that viewers keep their picture while the server is away; default 30",
    )
    longest_session_s: Seconds | None = Field(
        default=None, description="seconds after which every session ends; default: never"
    )
    ice_transport_policy: Literal["all", "relay"] = Field(
        default="all", description="all, or relay to use TURN only; default all"
    )
    ice_interfaces: Patterns = Field(
        default="*",
        description="network interfaces that viewers may be reached by: names, with wildcards, and "
        "prefixes such as 192.168.0.0/16, separated by commas; default *, all",
    )
    ice_excluded_interfaces: Patterns = Field(
        default="docker*,br-*,veth*,virbr*,lxc*,lxdbr*,cni*,flannel*,cali*",
        description="network interfaces that viewers are not reached by: names and prefixes, "
        "separated by commas; default: the usual names of containers' networks",
    )
    kill_switch_file: Path | None = Field(
        default=None,
        description="the path of a file that keeps the camera off while it exists",
    )
    in_use_led: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$",
        description="a name in /sys/class/leds, such as ACT: lit while the camera is open",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="1 to 65535, where Prometheus may ask for metrics; default: nowhere",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="the address that metrics are served on; default 127.0.0.1, this machine only",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error; default info"
    )
    log_format: LogFormat = Field(
        default="auto", description="auto, console, journal or json; default auto"
    )
    video: VideoSettings = VideoSettings()
    camera: CameraSettings = CameraSettings()

    @field_validator("server_ca_file", "client_cert_file", "client_key_file")
    @classmethod
    def _is_readable(cls, path: Path | None) -> Path | None:
        if path is not None:
            with path.open("rb") as file:
                file.read(1)
        return path

    @field_validator("device_token", mode="before")
    @classmethod
    def _an_empty_one_is_none(cls, token: object) -> object:
        # A credential's file has to be there even where there is no token.
        return None if token == "" else token

    @field_validator("device_token")
    @classmethod
    def _fits_a_header(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not re.fullmatch(r"[!-~]+", token.get_secret_value()):
            raise ValueError("a token has no spaces, line ends or letters beyond ASCII")
        return token

    @model_validator(mode="after")
    def _key_has_a_certificate(self) -> Self:
        if self.client_key_file is not None and self.client_cert_file is None:
            raise ValueError("CAMAGENT_CLIENT_KEY_FILE needs CAMAGENT_CLIENT_CERT_FILE as well")
        return self

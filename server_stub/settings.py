"""What an operator of the relay may change."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict
from redis.asyncio import ConnectionPool
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from camagent.configuration import EnvironmentSettings
from camagent.logs import LogFormat
from server_stub.limit_settings import LimitSettings

Seconds = Annotated[float, Field(gt=0, le=86_400 * 365, allow_inf_nan=False)]
UrlList = Annotated[
    tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=16), NoDecode
]

_SHORTEST_SECRET = 32
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
# RFC 7064 and 7065. A browser makes no peer connection at all if one URL is written otherwise.
_ICE_URLS = {
    "stun_urls": re.compile(r"stuns?:[^\s/?]+"),
    "turn_urls": re.compile(r"turns?:[^\s/?]+(\?transport=(udp|tcp))?"),
}


class StoreSettings(EnvironmentSettings):
    """What the commands that keep the lists of devices and grants need."""

    model_config = SettingsConfigDict(env_prefix="CAMAGENT_RELAY_")

    database_url: SecretStr = Field(
        default=SecretStr("sqlite+aiosqlite:///camagent-relay.db"),
        description="such as sqlite+aiosqlite:////var/lib/camagent-relay/relay.db",
    )

    @field_validator("database_url")
    @classmethod
    def _is_database_url(cls, url: SecretStr) -> SecretStr:
        try:
            make_url(url.get_secret_value())
        except ArgumentError:
            raise ValueError("no database URL") from None
        return url


class RelaySettings(StoreSettings, LimitSettings):
    """Read once at the start, from the command line, `CAMAGENT_RELAY_*` and an env file."""

    host: str = Field(
        default="0.0.0.0",  # noqa: S104 - a server is there to be reached
        min_length=1,
        description="the address to listen on; default 0.0.0.0, every one",
    )
    port: int = Field(
        default=8000, ge=0, le=65535, description="0 to 65535, 0 for any free one; default 8000"
    )
    redis_url: SecretStr | None = Field(
        default=None, description="where presence is kept, such as redis://localhost:6379/0"
    )
    jwt_secret: SecretStr = Field(
        description="the HS256 secret of viewers' tokens, 32 characters or more, such as the "
        "output of: openssl rand -base64 48"
    )
    stun_urls: UrlList = Field(
        default=(), description="STUN servers to hand out, such as stun:stun.example.com:3478"
    )
    turn_urls: UrlList = Field(
        default=(),
        description="TURN servers to hand out, separated by commas, such as "
        "turn:turn.example.com:3478?transport=udp",
    )
    turn_secret: SecretStr | None = Field(
        default=None, description="the secret shared with the TURN server (static-auth-secret)"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="debug, info, warning or error; default info",
    )
    log_format: LogFormat = Field(
        default="auto",
        description="auto, console, journal or json; default auto",
    )
    hello_deadline_s: Seconds = Field(
        default=10.0, description="seconds that a client may take to say hello; default 10"
    )
    heartbeat_interval_s: Seconds = Field(
        default=30.0, description="seconds between a client's heartbeats; default 30"
    )
    idle_timeout_s: Seconds = Field(
        default=90.0, description="seconds of silence after which a client is gone; default 90"
    )
    answer_deadline_s: Seconds = Field(
        default=60.0, description="seconds that a device may take to answer; default 60"
    )
    longest_session_s: Seconds = Field(
        default=8 * 3600.0, description="seconds after which a watch session ends; default 28800"
    )

    @field_validator("stun_urls", "turn_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("stun_urls", "turn_urls")
    @classmethod
    def _are_ice_urls(cls, urls: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        assert info.field_name is not None
        for url in urls:
            if not _ICE_URLS[info.field_name].fullmatch(url):
                raise ValueError(f"{url!r} is no such URL")
        return urls

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _opens_redis(url.get_secret_value()):
            raise ValueError("no Redis URL")
        return url

    @field_validator("jwt_secret")
    @classmethod
    def _is_long(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value()) < _SHORTEST_SECRET:
            raise ValueError("too short")
        return secret

    @model_validator(mode="after")
    def _turn_is_complete(self) -> Self:
        if self.turn_urls and self.turn_secret is None:
            raise ValueError("CAMAGENT_RELAY_TURN_URLS needs CAMAGENT_RELAY_TURN_SECRET as well")
        return self


def _opens_redis(url: str) -> bool:
    """Tell whether redis can make a connection of `url`, options included; none is opened."""
    try:
        pool = ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError):
        return False
    return url.startswith(_REDIS_SCHEMES)

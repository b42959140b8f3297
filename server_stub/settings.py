"""What an operator of the relay may change."""

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from camagent.configuration import EnvironmentSettings
from camagent.logs import LogFormat
from server_stub.addresses import ANY_ORIGIN, Network, normal_origin
from server_stub.keys import keys_of_pem
from server_stub.limit_settings import LimitSettings

Seconds = Annotated[float, Field(gt=0, le=86_400 * 365, allow_inf_nan=False)]
UrlList = Annotated[
    tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=16), NoDecode
]

OriginList = Annotated[tuple[str, ...], Field(max_length=64), NoDecode]
NetworkList = Annotated[tuple[Network, ...], Field(max_length=64), NoDecode]
Name = Annotated[str, Field(min_length=1, max_length=512)]

_SHORTEST_SECRET = 32
_HTTP_URL = re.compile(r"https?://[^\s/?#]+(/\S*)?")
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
# RFC 7064 and 7065. A browser makes no peer connection at all if one URL is written otherwise.
_ICE_URLS = {
    "stun_urls": re.compile(r"stuns?:[^\s/?]+"),
    "turn_urls": re.compile(r"turns?:[^\s/?]+(\?transport=(udp|tcp))?"),
}


_DRIVERS = frozenset({"sqlite+aiosqlite", "postgresql+asyncpg", "postgresql", "postgres"})


class StoreSettings(EnvironmentSettings):
    """What the commands that keep the lists of devices and grants need."""

    model_config = SettingsConfigDict(env_prefix="CAMAGENT_RELAY_")

    database_url: SecretStr = Field(
        default=SecretStr("sqlite+aiosqlite:///camagent-relay.db"),
        description="such as sqlite+aiosqlite:////var/lib/camagent-relay/relay.db, or "
        "postgresql+asyncpg://user:password@localhost/camagent",
    )

    @field_validator("database_url")
    @classmethod
    def _is_database_url(cls, url: SecretStr) -> SecretStr:
        try:
            driver = make_url(url.get_secret_value()).drivername
        except (ArgumentError, ValueError):  # whose text may quote a password
            raise ValueError("no database URL") from None
        if driver not in _DRIVERS:
            raise ValueError(f"{driver!r} is no database of ours")
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
        default=None,
        description="what several instances of the relay act as one by, such as "
        "redis://localhost:6379/0",
    )
    # No secret, but somebody will put the private key there by mistake.
    jwt_public_key: SecretStr | None = Field(
        default=None,
        description="a file with the PEM public keys that viewers' tokens are checked with, RSA, "
        "P-256 or Ed25519, or its text; instead of a secret",
    )
    jwt_jwks_url: str | None = Field(
        default=None,
        max_length=2048,
        description="where an identity provider lists its keys, such as "
        "https://id.example.com/.well-known/jwks.json; instead of a secret",
    )
    # After the two that it may stand in for, whose values its rule looks at.
    jwt_secret: SecretStr | None = Field(
        default=None,
        validate_default=True,
        description="the HS256 secret of viewers' tokens, 32 characters or more, such as the "
        "output of: openssl rand -base64 48",
    )
    jwt_issuer: Name | None = Field(
        default=None, description="the issuer (iss) that viewers' tokens must name"
    )
    jwt_audience: Name | None = Field(
        default=None, description="the audience (aud) that viewers' tokens must name"
    )
    allowed_origins: OriginList = Field(
        default=(),
        description="origins whose pages may connect, separated by commas, such as "
        "https://home.example.com, or * for any; default none but the relay's own",
    )
    trusted_proxies: NetworkList = Field(
        default=(),
        description="addresses and networks of the proxies whose X-Forwarded headers count, "
        "separated by commas, such as 127.0.0.1,10.0.0.0/8",
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
    drain_s: float = Field(
        default=3.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="seconds over which a stop spreads its goodbyes; default 3",
    )

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _are_networks(cls, value: object) -> object:
        """Read each by itself: pydantic's own complaint would be two for one address.

        Of two such validators the one that stands last comes first: the text is split by then.
        """
        if not isinstance(value, tuple):
            return value
        networks = []
        for part in value:
            try:
                networks.append(ipaddress.ip_network(part))
            except ValueError as error:
                raise ValueError(f"{error}") from None
        return tuple(networks)

    @field_validator("stun_urls", "turn_urls", "allowed_origins", "trusted_proxies", mode="before")
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

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != ANY_ORIGIN and normal_origin(origin) is None:
                raise ValueError(f"{origin!r} is no origin")
        return tuple(normal_origin(origin) or origin for origin in origins)

    @field_validator("jwt_public_key")
    @classmethod
    def _holds_keys(cls, value: SecretStr | None) -> SecretStr | None:
        """Read the file, if it is one, so that what is kept is the text."""
        if value is None:
            return None
        # It may come as one line, which is all some environments take.
        text = value.get_secret_value().replace("\\n", "\n")
        if not text.lstrip().startswith("-----BEGIN"):
            try:
                text = Path(text).read_text()
            except (OSError, ValueError) as error:
                problem = getattr(error, "strerror", None) or "no text"
                raise ValueError(f"the file cannot be read: {problem}") from None
        keys_of_pem(text)
        return SecretStr(text)

    @field_validator("jwt_jwks_url")
    @classmethod
    def _is_url_instead(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        if not _HTTP_URL.fullmatch(url):
            raise ValueError("no http or https URL")
        urlsplit(url).port  # noqa: B018 - it complains about a host or port that is none
        if info.data.get("jwt_public_key"):
            raise ValueError("CAMAGENT_RELAY_JWT_PUBLIC_KEY is set as well, and one has to go")
        return url

    @field_validator("jwt_secret")
    @classmethod
    def _is_secret_or_needless(
        cls, secret: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        others = ("jwt_public_key", "jwt_jwks_url")
        # One that was refused is missing here, and has its own line.
        given = [name for name in others if info.data.get(name, "refused")]
        if secret is None and not given:
            raise ValueError(f"is not set, nor is {_names(others)}")
        if secret is not None and given:
            raise ValueError(f"{_names(given)} is set as well, and one has to go")
        if secret is not None and len(secret.get_secret_value()) < _SHORTEST_SECRET:
            raise ValueError("too short")
        if secret is not None and secret.get_secret_value().lstrip().startswith("-----BEGIN"):
            raise ValueError("a key is no secret; CAMAGENT_RELAY_JWT_PUBLIC_KEY takes public keys")
        return secret

    @model_validator(mode="after")
    def _turn_is_complete(self) -> Self:
        if self.turn_urls and self.turn_secret is None:
            raise ValueError("CAMAGENT_RELAY_TURN_URLS needs CAMAGENT_RELAY_TURN_SECRET as well")
        return self


def _names(fields: Sequence[str]) -> str:
    return " or ".join(f"CAMAGENT_RELAY_{field.upper()}" for field in fields)


def _opens_redis(url: str) -> bool:
    """Tell whether redis can make a connection of `url`, options included; none is opened."""
    # Only here: it takes memory, which a relay without Redis need not have.
    from redis.asyncio import ConnectionPool  # noqa: PLC0415

    try:
        pool = ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError):
        return False
    return url.startswith(_REDIS_SCHEMES)

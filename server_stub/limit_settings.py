"""What an operator may change about how much anybody may do."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from camagent.configuration import EnvironmentSettings
from camagent.signaling.messages import LARGEST_MESSAGE_BYTES

Rate = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], Field(max_length=256), NoDecode]

_SMALLEST_MESSAGE_BYTES = 4096


class LimitSettings(EnvironmentSettings):
    """Limits per connection, address, user and device, and where they can be watched."""

    model_config = SettingsConfigDict(env_prefix="CAMAGENT_RELAY_")

    messages_per_second: float = Field(
        default=50.0,
        gt=0,
        allow_inf_nan=False,
        description="what one connection may send in the long run; default 50",
    )
    messages_at_once: int = Field(
        default=200, ge=1, description="what one connection may send in a burst; default 200"
    )
    largest_message_bytes: int = Field(
        default=LARGEST_MESSAGE_BYTES,
        ge=_SMALLEST_MESSAGE_BYTES,
        le=LARGEST_MESSAGE_BYTES,
        description="4096 to 65536, the most that one message may have; default 65536",
    )
    connections_per_address: int = Field(
        default=500,
        ge=0,
        description="connections that one address may hold, 0 for any number; default 500",
    )
    connects_per_second: Rate = Field(
        default=10.0,
        description="new connections per second and address in the long run, 0 for any number; "
        "default 10",
    )
    connects_at_once: int = Field(
        default=200, ge=1, description="new connections of one address in a burst; default 200"
    )
    unlimited_addresses: Networks = Field(
        default=(ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="addresses and networks whose connections are not limited, separated by "
        "commas, such as 192.0.2.7,2001:db8::/32; default 127.0.0.0/8,::1/128",
    )
    sessions_per_user: int = Field(
        default=32, ge=0, description="what one user may watch at a time, 0 for any; default 32"
    )
    sessions_per_device: int = Field(
        default=32, ge=0, description="viewers of one device at a time, 0 for any; default 32"
    )
    watch_requests_per_minute: Rate = Field(
        default=60.0, description="of one user, 0 for any number; default 60"
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="where Prometheus may ask for metrics, 0 for any free one; default: nowhere",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="the address that metrics are served on; default 127.0.0.1, this machine only",
    )

    @field_validator("unlimited_addresses", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = (part.strip() for part in value.split(","))
        return tuple(ip_network(part, strict=False) for part in parts if part)

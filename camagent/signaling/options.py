"""What the link has to be told."""

import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class LinkOptions:
    """Where the server is, who we are, and how patient both are."""

    url: str
    device_id: str
    device_token: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    heartbeat_interval_s: float = 30.0
    heartbeat_deadline_s: float = 10.0
    hello_deadline_s: float = 10.0
    presence_interval_s: float = 60.0
    first_retry_delay_s: float = 1.0
    longest_retry_delay_s: float = 60.0
    stable_after_s: float = 30.0

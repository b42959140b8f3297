"""Time-limited TURN credentials (draft-uberti-behave-turn-rest), as coturn checks them. Pure."""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from camagent.signaling.messages import IceServer

# A name has to survive a TURN server's log and the readers of Link headers, who split at `;` and `,`.
_UNSAFE = re.compile(r"[^A-Za-z0-9._~@+:-]")


@dataclass(frozen=True, kw_only=True)
class IceServers:
    """Which STUN and TURN servers to hand out. `valid_for_s` covers the longest session."""

    stun_urls: Sequence[str] = ()
    turn_urls: Sequence[str] = ()
    secret: str | None = None
    valid_for_s: float = 0.0

    def for_device(self, session_id: str, *, now_s: float) -> tuple[IceServer, ...]:
        """List the servers with the credential of one session's device; `now_s` is Unix time."""
        return self._list(f"device_{session_id}", now_s)

    def for_viewer(self, user_id: str, session_id: str, *, now_s: float) -> tuple[IceServer, ...]:
        """List the servers with the credential of one session's viewer."""
        return self._list(f"viewer_{_UNSAFE.sub('_', user_id)}_{session_id}", now_s)

    def _list(self, name: str, now_s: float) -> tuple[IceServer, ...]:
        servers = [IceServer(urls=url) for url in self.stun_urls]
        if self.turn_urls and self.secret:
            username = f"{int(now_s + self.valid_for_s)}:{name}"
            servers.append(
                IceServer(
                    urls=tuple(self.turn_urls),
                    username=username,
                    credential=credential_for(username, self.secret),
                    credentialType="password",
                )
            )
        return tuple(servers)


def credential_for(username: str, secret: str) -> str:
    """Sign `username`: HMAC-SHA1 in base64."""
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()

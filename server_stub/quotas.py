"""How many sessions a user and a device may have, and how often a user may ask for one."""

from typing import Protocol

from server_stub.limits import Sharing, Tally, TokenBuckets, keep_local
from server_stub.metrics import Meters

TOO_MANY_REQUESTS = "Too many watch requests"
TOO_MANY_SESSIONS = "Too many sessions"
TOO_MANY_VIEWERS = "Device has too many viewers"

_SECONDS_PER_MINUTE = 60
_LEAST_AT_ONCE = 10


class Places(Protocol):
    """Places of each user that several instances of a relay count together."""

    async def take(self, user_id: str, session_id: str) -> bool:
        """Take one; false if there is none. `leave` has to follow, also if this is cancelled."""

    def leave(self, user_id: str, session_id: str) -> None:
        """Give one back, whether or not it was got."""


class WatchLimits:
    """Limits of watch sessions, whichever way they are asked for. 0 limits nothing.

    A user's are counted by the viewers' instances, a device's by its own.

    Attributes:
        shared: counts users' sessions at all instances, where there may be others.
    """

    def __init__(
        self,
        *,
        requests_per_minute: float,
        sessions_per_user: int,
        sessions_per_device: int,
        meters: Meters,
        sharing: Sharing = keep_local,
    ) -> None:
        requests = TokenBuckets(
            per_second=requests_per_minute / _SECONDS_PER_MINUTE,
            at_once=max(_LEAST_AT_ONCE, round(requests_per_minute)),
        )
        self._requests = sharing("watch_requests", requests)
        self.shared: Places | None = None
        self._of_user = Tally(sessions_per_user)
        self._most_of_device = sessions_per_device
        self._meters = meters

    async def refuse_request(self, user_id: str) -> str | None:
        """Count a watch request; say why it is not to be served, or None."""
        if not await self._requests.wait_s(user_id):
            return None
        self._meters.limited("watch_requests")
        return TOO_MANY_REQUESTS

    async def take_place(self, user_id: str, session_id: str) -> str | None:
        """Count a session until `leave_place`; or say why there may be none now, and do not."""
        if not await self._take(user_id, session_id):
            self._meters.limited("sessions_per_user")
            return TOO_MANY_SESSIONS
        return None

    def leave_place(self, user_id: str, session_id: str) -> None:
        """Count a session no more."""
        self._of_user.remove(user_id)
        if self.shared is not None:
            self.shared.leave(user_id, session_id)

    def refuse_viewer(self, viewers: int) -> str | None:
        """Say why a device that is here, and has so many viewers, may have no other; or None."""
        if not 0 < self._most_of_device <= viewers:
            return None
        self._meters.limited("sessions_per_device")
        return TOO_MANY_VIEWERS

    async def _take(self, user_id: str, session_id: str) -> bool:
        if self._of_user.is_full(user_id):
            return False
        # Here at once: to ask takes a moment, in which more may come.
        self._of_user.add(user_id)
        is_taken = False
        try:
            is_taken = self.shared is None or await self.shared.take(user_id, session_id)
        finally:
            if not is_taken:
                self.leave_place(user_id, session_id)
        return is_taken

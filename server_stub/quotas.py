"""How many sessions a user and a device may have, and how often a user may ask for one."""

from server_stub.limits import Sharing, Tally, TokenBuckets, keep_local
from server_stub.metrics import Meters

TOO_MANY_REQUESTS = "Too many watch requests"
TOO_MANY_SESSIONS = "Too many sessions"
TOO_MANY_VIEWERS = "Device has too many viewers"

_SECONDS_PER_MINUTE = 60
_LEAST_AT_ONCE = 10


class WatchLimits:
    """Limits of watch sessions, whichever way they are asked for. 0 limits nothing."""

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
        self._of_user = Tally(sessions_per_user)
        self._of_device = Tally(sessions_per_device)
        self._meters = meters

    async def refuse_request(self, user_id: str) -> str | None:
        """Count a watch request; say why it is not to be served, or None."""
        if not await self._requests.wait_s(user_id):
            return None
        self._meters.limited("watch_requests")
        return TOO_MANY_REQUESTS

    def take_place(self, user_id: str, device_id: str) -> str | None:
        """Count a session until `leave_place`; or say why there may be none now, and do not."""
        if self._of_user.is_full(user_id):
            self._meters.limited("sessions_per_user")
            return TOO_MANY_SESSIONS
        if self._of_device.is_full(device_id):
            self._meters.limited("sessions_per_device")
            return TOO_MANY_VIEWERS
        self._of_user.add(user_id)
        self._of_device.add(device_id)
        return None

    def leave_place(self, user_id: str, device_id: str) -> None:
        """Count a session no more."""
        self._of_user.remove(user_id)
        self._of_device.remove(device_id)

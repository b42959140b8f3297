"""Who is online: presence in this process, which is all there is without Redis.

A registration is a lease; only the newest one of a device may refresh or end it, so the late end of
an old connection never takes a newer one down. Presence fades by itself after 2.5 heartbeats.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

HEARTBEATS_TO_LIVE = 2.5


class Unreachable(Exception):
    """Redis is away, and with it the way to other instances."""


class Unanswered(Exception):
    """Another instance is not there; or if `is_late`, it did not answer in time."""

    def __init__(self, *, is_late: bool) -> None:
        super().__init__("no answer in time" if is_late else "nobody is there")
        self.is_late = is_late


@dataclass(frozen=True, slots=True)
class Lease:
    """One registration of a device: what proves that a connection is still its newest here."""

    device_id: str
    epoch: int


class Presence(Protocol):
    """Who is online, and what they last said about themselves."""

    @property
    def is_away(self) -> bool:
        """True while other instances cannot see what is registered here."""

    async def register(self, device_id: str, on_replaced: Callable[[], None]) -> Lease:
        """Mark a device online; an older lease of it is worth nothing from now on.

        `on_replaced` is called once if another instance takes the device over.
        """

    def holds(self, lease: Lease) -> bool:
        """Tell whether a lease is the newest of its device in this process."""

    def refresh(self, lease: Lease) -> None:
        """Keep a device online, if the lease is the newest. Nobody waits for anything."""

    async def unregister(self, lease: Lease) -> bool:
        """Mark a device offline; false, and no change, if the lease is not the newest."""

    async def is_online(self, device_id: str) -> bool:
        """Tell whether a device holds a lease that has not faded."""

    def report(self, lease: Lease, payload: dict[str, Any]) -> None:
        """Keep what a device said about itself, for as long as it is online."""

    async def last_report(self, device_id: str) -> dict[str, Any] | None:
        """Give what an online device last said about itself."""


@dataclass(slots=True)
class _Record:
    epoch: int
    fades_at_s: float
    report: dict[str, Any] | None = None


@dataclass
class MemoryPresence:
    """Presence in this process. `time_to_live_s` is how long a silent device stays online."""

    time_to_live_s: float
    clock: Callable[[], float] = time.monotonic
    _records: dict[str, _Record] = field(default_factory=dict)
    _epoch: int = 0

    @property
    def is_away(self) -> bool:
        """See `Presence`."""
        return False

    async def register(self, device_id: str, on_replaced: Callable[[], None]) -> Lease:  # noqa: ARG002 - there is no other instance
        """See `Presence`."""
        return self.take(device_id)

    def take(self, device_id: str) -> Lease:
        """Register at once."""
        self._epoch += 1
        self._records[device_id] = _Record(self._epoch, self._later())
        return Lease(device_id, self._epoch)

    def holds(self, lease: Lease) -> bool:
        """See `Presence`."""
        record = self._records.get(lease.device_id)
        return record is not None and record.epoch == lease.epoch

    def refresh(self, lease: Lease) -> None:
        """See `Presence`."""
        if self.holds(lease):
            self._records[lease.device_id].fades_at_s = self._later()

    async def unregister(self, lease: Lease) -> bool:
        """See `Presence`."""
        return self.drop(lease)

    def drop(self, lease: Lease) -> bool:
        """Unregister at once."""
        if not self.holds(lease):
            return False
        del self._records[lease.device_id]
        return True

    async def is_online(self, device_id: str) -> bool:
        """See `Presence`."""
        return self._live(device_id) is not None

    def report(self, lease: Lease, payload: dict[str, Any]) -> None:
        """See `Presence`."""
        if self.holds(lease):
            self._records[lease.device_id].report = payload

    async def last_report(self, device_id: str) -> dict[str, Any] | None:
        """See `Presence`."""
        record = self._live(device_id)
        return None if record is None else record.report

    def newest(self, device_id: str) -> Lease | None:
        """Give the lease of a device that counts."""
        record = self._records.get(device_id)
        return None if record is None else Lease(device_id, record.epoch)

    def report_of(self, lease: Lease) -> dict[str, Any] | None:
        """Give what the holder of this lease last said about itself."""
        return self._records[lease.device_id].report if self.holds(lease) else None

    def _live(self, device_id: str) -> _Record | None:
        record = self._records.get(device_id)
        return record if record is not None and self.clock() < record.fades_at_s else None

    def _later(self) -> float:
        return self.clock() + self.time_to_live_s


def new_instance_id() -> str:
    """Draw the name of an instance. Epochs start again when Redis was emptied; this does not."""
    return secrets.token_hex(8)

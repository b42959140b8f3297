"""Logs what changed in this machine's health: once when it gets bad, and once when that is over."""

import structlog
from pydantic import BaseModel

from camagent.signaling.messages import DevicePresence

log = structlog.get_logger(__name__)

# Well below or above where it began, so that a value at the limit is not told again and again.
_HOT, _COOL_AGAIN = 80, 75
_DISK_LOW_MB, _DISK_ENOUGH_MB = 200, 250


class _Strain(BaseModel):
    now: bool
    since_boot: bool | None = None

    @property
    def known(self) -> dict[str, bool]:
        """What there is to log."""
        return self.model_dump(exclude_none=True)


class _Health(BaseModel):
    """What a report says of health."""

    under_voltage: _Strain | None = None
    throttled: _Strain | None = None
    temperature: float | None = None
    disk_free_mb: int | None = None
    clock_synced: bool | None = None


class _Sign:
    """One thing that is well until a report says otherwise."""

    def __init__(self, *, bad: str, good: str) -> None:
        self._bad = bad
        self._good = good
        self.is_bad = False
        self.was_bad = False

    def tell(self, *, is_bad: bool, **values: object) -> None:
        """Log the event if this is a change."""
        if is_bad == self.is_bad:
            return
        self.is_bad = is_bad
        if is_bad:
            self.was_bad = True
            log.warning(self._bad, **values)
        else:
            log.info(self._good, **values)


class Changes:
    """Compares each report with those before. What a report leaves out stays as it was."""

    def __init__(self) -> None:
        self._under_voltage = _Sign(bad="under_voltage.detected", good="under_voltage.over")
        self._throttling = _Sign(bad="throttling.detected", good="throttling.over")
        self._heat = _Sign(bad="temperature.high", good="temperature.normal")
        self._disk = _Sign(bad="disk.low", good="disk.enough")
        self._clock = _Sign(bad="clock.not_synced", good="clock.synced")

    def tell(self, report: DevicePresence.Payload) -> None:
        """Log what is news in `report`; of the first, only what is bad."""
        health = _Health.model_validate(report, from_attributes=True)
        if health.under_voltage is not None:
            self._tell_voltage(health.under_voltage)
        if (throttled := health.throttled) is not None:
            self._throttling.tell(is_bad=throttled.now, **throttled.known)
        if (celsius := health.temperature) is not None:
            limit = _COOL_AGAIN if self._heat.is_bad else _HOT
            self._heat.tell(is_bad=celsius >= limit, temperature=celsius)
        if (free_mb := health.disk_free_mb) is not None:
            least_mb = _DISK_ENOUGH_MB if self._disk.is_bad else _DISK_LOW_MB
            self._disk.tell(is_bad=free_mb < least_mb, free_mb=free_mb)
        if (is_synced := health.clock_synced) is not None:
            self._clock.tell(is_bad=not is_synced)

    def _tell_voltage(self, strain: _Strain) -> None:
        if strain.since_boot and not strain.now and not self._under_voltage.was_bad:
            # Before the agent came or between two reports: nothing else would ever tell.
            self._under_voltage.was_bad = True
            log.warning("under_voltage.detected", **strain.known)
        self._under_voltage.tell(is_bad=strain.now, **strain.known)

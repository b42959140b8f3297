"""What this device can tell about itself. What a machine lacks is left out, never invented."""

from collections.abc import Callable
from typing import TypeVar

import psutil

from camagent import __version__
from camagent.signaling.messages import DevicePresence

T = TypeVar("T")

_COLDEST, _HOTTEST = -50, 150

# In the order of trust: a Pi's own sensor, then what laptops and servers call theirs.
_PROCESSOR_SENSORS = ("cpu_thermal", "coretemp", "k10temp", "acpitz")


def describe_device(
    *, camera: str, camera_problem: str | None, viewers: int
) -> DevicePresence.Payload:
    """Build one presence report.

    `camera` is the capture's state in a word; `camera_problem` says why it cannot serve.
    """
    return DevicePresence.Payload(
        battery=_battery(),
        temperature=processor_temperature(),
        recording=False,
        camera=camera,
        **({"camera_problem": camera_problem} if camera_problem else {}),
        viewers=viewers,
        agent_version=__version__,
    )


def _battery() -> int | None:
    """Charge in percent; batteries that were measured anew may claim more than all."""
    battery = _read(psutil.sensors_battery)
    return None if battery is None else max(0, min(100, round(battery.percent)))


def processor_temperature() -> float | None:
    """Of the processor in degrees Celsius, if it is one that a processor can have."""
    sensors = _read(psutil.sensors_temperatures) or {}
    for name in _PROCESSOR_SENSORS:
        for reading in sensors.get(name, ()):
            if _COLDEST < reading.current < _HOTTEST:
                return round(reading.current, 1)
    return None


def _read(sensor: Callable[[], T]) -> T | None:
    """Ask a sensor; one that is there and cannot be read counts as none."""
    try:
        return sensor()
    except (OSError, ValueError):
        return None

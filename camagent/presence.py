"""What this device can tell about itself. What a machine lacks is left out, never invented."""

import psutil

from camagent import __version__
from camagent.signaling.messages import DevicePresence

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
        temperature=_temperature(),
        recording=False,
        camera=camera,
        **({"camera_problem": camera_problem} if camera_problem else {}),
        viewers=viewers,
        agent_version=__version__,
    )


def _battery() -> int | None:
    battery = psutil.sensors_battery()
    return None if battery is None else round(battery.percent)


def _temperature() -> float | None:
    sensors = psutil.sensors_temperatures()
    for name in _PROCESSOR_SENSORS:
        for reading in sensors.get(name, ()):
            return round(reading.current, 1)
    return None

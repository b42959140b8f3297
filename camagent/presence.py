"""What this device can tell about itself. What a machine lacks is left out, never invented."""

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

import psutil
from pydantic import JsonValue

from camagent import __version__
from camagent.board import Strain, read_model, read_strains
from camagent.signaling.messages import DevicePresence

CameraWord = Literal["idle", "starting", "live", "error", "off"]
"""How the camera is, to whoever reads a report: `off` where somebody beside it wished so."""

T = TypeVar("T")

_STARTED_S = time.monotonic()

_MEGABYTE = 1_000_000
_COLDEST, _HOTTEST = -50, 150
_FAINTEST_DBM = -120
_LONGEST_UPTIME_S = 100 * 365 * 86_400
_LARGEST_LOAD = 100_000
# The agent is no older: a clock that shows less has started at some default.
_EARLIEST_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()

# In the order of trust: a Pi's own sensor, then what laptops and servers call theirs.
_PROCESSOR_SENSORS = ("cpu_thermal", "coretemp", "k10temp", "acpitz")


def describe_device(
    *,
    camera: CameraWord,
    camera_problem: str | None,
    viewers: int,
    root: Path = Path("/"),
    clock: Callable[[], float] = time.monotonic,
    wall_clock: Callable[[], float] = time.time,
) -> DevicePresence.Payload:
    """Build one presence report, within some milliseconds.

    `camera_problem` says why the camera cannot serve. Below `root` lie the machine's /proc, /sys
    and /run; `clock` gives monotonic seconds.
    """
    strains = read_strains(root)
    facts: dict[str, JsonValue] = {
        "battery": _read(_battery),
        "temperature": processor_temperature(),
        "recording": False,
        "camera": camera,
        "camera_problem": camera_problem or None,
        "viewers": viewers,
        "agent_version": __version__,
        "model": read_model(root),
        "under_voltage": _as_json(strains.under_voltage),
        "throttled": _as_json(strains.throttled),
        "wifi_signal_dbm": _wifi_signal_dbm(root),
        "load": _read(_load),
        "cpu_count": _read(psutil.cpu_count),
        **_memory(),
        "agent_memory_mb": _read(lambda: psutil.Process().memory_info().rss // _MEGABYTE),
        "disk_free_mb": _read(lambda: psutil.disk_usage(str(root)).free // _MEGABYTE),
        "uptime_s": _read(lambda: _uptime_s(root)),
        "agent_uptime_s": int(clock() - _STARTED_S),
        "clock_synced": _read(lambda: _clock_is_synced(root, wall_clock())),
    }
    known = {name: fact for name, fact in facts.items() if fact is not None}
    return DevicePresence.Payload.model_validate(known)


def processor_temperature() -> float | None:
    """Of the processor in degrees Celsius, if it is one that a processor can have."""
    sensors = _read(psutil.sensors_temperatures) or {}
    for name in _PROCESSOR_SENSORS:
        for reading in sensors.get(name, ()):
            if _COLDEST < reading.current < _HOTTEST:
                return round(reading.current, 1)
    return None


def _battery() -> int | None:
    """Charge in percent; batteries that were measured anew may claim more than all."""
    battery = psutil.sensors_battery()
    return None if battery is None else max(0, min(100, round(battery.percent)))


def _as_json(strain: Strain | None) -> JsonValue:
    if strain is None:
        return None
    return {name: value for name, value in asdict(strain).items() if value is not None}


def _wifi_signal_dbm(root: Path) -> int | None:
    """Of the interface that hears its access point best."""
    text = _read((root / "proc/net/wireless").read_text) or ""
    levels = [level for line in text.splitlines() if (level := _level_dbm(line)) is not None]
    return max(levels, default=None)


def _level_dbm(line: str) -> int | None:
    """Read one line's level; drivers that count in units of their own give a positive one."""
    _interface, _colon, figures = line.partition(":")
    try:
        _status, _quality, level = figures.split()[:3]
        level_dbm = float(level)
    except ValueError:
        return None
    return round(level_dbm) if _FAINTEST_DBM <= level_dbm < 0 else None


def _load() -> float | None:
    """Processes that ran or wanted to, averaged over the last minute."""
    load = psutil.getloadavg()[0]
    return round(load, 2) if 0 <= load < _LARGEST_LOAD else None


def _memory() -> dict[str, JsonValue]:
    memory = _read(psutil.virtual_memory)
    if memory is None or not 0 <= memory.available <= memory.total:
        return {}
    return {
        "memory_available_mb": memory.available // _MEGABYTE,
        "memory_total_mb": memory.total // _MEGABYTE,
    }


def _uptime_s(root: Path) -> int | None:
    """Of the machine; counted by the kernel, so that a clock that is set does not matter."""
    uptime_s = float((root / "proc/uptime").read_text().partition(" ")[0])
    return int(uptime_s) if 0 <= uptime_s < _LONGEST_UPTIME_S else None


def _clock_is_synced(root: Path, wall_s: float) -> bool | None:
    """Ask systemd-timesyncd; None where another program sets the clock."""
    if wall_s < _EARLIEST_S:
        return False
    folder = root / "run/systemd/timesync"
    if (folder / "synchronized").exists():
        return True
    return False if folder.is_dir() else None


def _read(sensor: Callable[[], T]) -> T | None:
    """Ask a sensor; one that is there and cannot be read counts as none."""
    try:
        return sensor()
    except (OSError, ValueError, psutil.Error):
        return None

"""What a device tells about itself."""

from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from camagent import __version__
from camagent.presence import describe_device


def described(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"camera": "idle", "camera_problem": None, "viewers": 0}
    return describe_device(**(known | changes)).model_dump(mode="json", exclude_none=True)


def test_the_report_tells_of_camera_and_viewers() -> None:
    """Camera state, viewers and version are always there; nothing is being recorded."""
    report = described(camera="live", viewers=2)

    assert report["camera"] == "live"
    assert report["viewers"] == 2
    assert report["recording"] is False
    assert report["agent_version"] == __version__
    assert "camera_problem" not in report


def test_a_problem_is_told_in_words() -> None:
    """Why the camera cannot serve stands in the report while it is so."""
    assert described(camera="error", camera_problem="it is busy")["camera_problem"] == "it is busy"


def sensors(monkeypatch: pytest.MonkeyPatch, battery: Any, temperatures: Any) -> None:
    """Put other hardware in the machine."""
    monkeypatch.setattr(psutil, "sensors_battery", battery, raising=False)
    monkeypatch.setattr(psutil, "sensors_temperatures", temperatures, raising=False)


def test_what_a_pi_has_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor's temperature is told in degrees, a battery in percent."""
    reading = SimpleNamespace(current=51.234)
    sensors(monkeypatch, lambda: SimpleNamespace(percent=84.6), lambda: {"cpu_thermal": [reading]})
    report = described()

    assert (report["battery"], report["temperature"]) == (85, 51.2)


def test_what_a_machine_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is invented for a machine without battery or sensor."""
    sensors(monkeypatch, lambda: None, dict)
    report = described()

    assert not {"battery", "temperature"} & set(report)


def test_a_broken_sensor_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sensor that cannot be read or talks nonsense is left out."""

    def fail() -> None:
        raise OSError("no such device")

    nonsense = SimpleNamespace(current=65261.85)
    sensors(monkeypatch, fail, lambda: {"cpu_thermal": [nonsense]})
    assert not {"battery", "temperature"} & set(described())
    sensors(monkeypatch, lambda: SimpleNamespace(percent=104.0), fail)
    assert described()["battery"] == 100

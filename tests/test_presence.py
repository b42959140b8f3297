"""What a device tells about itself."""

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent import __version__
from camagent.presence import describe_device
from camagent.signaling.messages import DevicePresence, encode


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


WIRELESS = """\
Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
"""


def put(root: Path, name: str, text: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def put_pi_4(root: Path) -> None:
    """Make a folder look like a Pi 4 that was short of power once."""
    put(root, "sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n")
    put(root, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0")
    put(root, "proc/net/wireless", WIRELESS + " wlan0: 0000   58.  -52.  -256  0 0 0 0 18 0\n")
    put(root, "proc/uptime", "90061.27 350000.11\n")
    put(root, "run/systemd/timesync/synchronized", "")


def put_pi_5(root: Path) -> None:
    """Make a folder look like a Pi 5 with a kernel that hides the firmware's bits, by cable."""
    put(root, "sys/class/hwmon/hwmon2/name", "rpi_volt\n")
    put(root, "sys/class/hwmon/hwmon2/in0_lcrit_alarm", "1\n")
    put(root, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    put(root, "proc/net/wireless", WIRELESS)
    put(root, "proc/uptime", "12.05 30.11\n")
    (root / "run/systemd/timesync").mkdir(parents=True)


FROM_ROOT = {
    "under_voltage",
    "throttled",
    "model",
    "wifi_signal_dbm",
    "uptime_s",
    "clock_synced",
}


def test_a_pi_4_tells_all(tmp_path: Path) -> None:
    """Power, speed, model, Wi-Fi, uptime and clock are read from the kernel's files."""
    put_pi_4(tmp_path)
    report = described(root=tmp_path)

    assert {name: report[name] for name in FROM_ROOT} == {
        "under_voltage": {"now": False, "since_boot": True},
        "throttled": {"now": False, "since_boot": True},
        "model": "Raspberry Pi 4 Model B Rev 1.5",
        "wifi_signal_dbm": -52,
        "uptime_s": 90061,
        "clock_synced": True,
    }


def test_a_pi_5_tells_what_its_kernel_shows(tmp_path: Path) -> None:
    """Of power the present is known; nothing is said of speed, nor of a Wi-Fi that is not used."""
    put_pi_5(tmp_path)
    report = described(root=tmp_path)

    assert {name: report[name] for name in FROM_ROOT & set(report)} == {
        "under_voltage": {"now": True},
        "model": "Raspberry Pi 5 Model B Rev 1.0",
        "uptime_s": 12,
        "clock_synced": False,
    }


def test_a_machine_that_is_no_pi_is_not_taken_for_one(tmp_path: Path) -> None:
    """An empty machine still tells of its processor, memory and disk."""
    report = described(root=tmp_path)

    assert not FROM_ROOT & set(report)
    assert report["cpu_count"] >= 1
    assert report["load"] >= 0
    assert 0 < report["memory_available_mb"] <= report["memory_total_mb"]
    assert 5 < report["agent_memory_mb"] < report["memory_total_mb"]
    assert report["disk_free_mb"] == pytest.approx(psutil.disk_usage("/").free / 1e6, rel=0.5)


def test_the_real_machine_is_described_fast() -> None:
    """A report costs the event loop some milliseconds at most."""
    described()
    durations = []
    for _ in range(10):
        began = time.perf_counter()
        described()
        durations.append(time.perf_counter() - began)

    assert min(durations) < 0.02


def test_a_report_is_a_message(tmp_path: Path) -> None:
    """Everything in a report can be sent, and read again."""
    put_pi_4(tmp_path)
    payload = describe_device(camera="idle", camera_problem=None, viewers=0, root=tmp_path)
    text = encode(DevicePresence(payload=payload))

    assert DevicePresence.model_validate_json(text).payload == payload


def test_the_agents_age_is_counted_without_the_wall_clock() -> None:
    """Seconds since the start are monotonic, however the clock is set."""
    later_s = time.monotonic() + 5000
    young = described()["agent_uptime_s"]
    old = described(clock=lambda: later_s, wall_clock=lambda: 0.0)["agent_uptime_s"]

    assert young >= 0
    assert old - young == pytest.approx(5000, abs=2)


def test_a_clock_before_this_agent_was_made_is_wrong(tmp_path: Path) -> None:
    """Whatever the machine says of its clock, 1970 and 2025 are not the time."""
    new_year_2026_s = 1_767_225_600.0

    def is_synced(wall_s: float) -> bool | None:
        return described(root=tmp_path, wall_clock=lambda: wall_s).get("clock_synced")

    assert is_synced(new_year_2026_s - 1) is False
    assert is_synced(new_year_2026_s) is None
    put_pi_4(tmp_path)
    assert is_synced(new_year_2026_s - 1) is False
    assert is_synced(new_year_2026_s) is True


@pytest.mark.parametrize(
    ("lines", "level_dbm"),
    [
        ([" wlan0: 0000   58.  -52.  -256  0 0 0 0 18 0"], -52),
        ([" wlan0: 0000 31. -79. -256 0", " wlan1: 0000 60. -48. -256 0"], -48),
        ([" wlan0: 0000 31. -79. -256 0", " wlan1: 0000 0. -256. -256 0"], -79),
        ([" wlan0: 0000 0. 0. 0 0"], None),
        ([" wlan0: 0000 58. 70. 0 0"], None),
        ([" wlan0: 0000 58. nan 0 0"], None),
        ([" wlan0: 0000 58. -inf 0 0"], None),
        ([" wlan0: 0000 58.", "wlan1:", ":::", "", " wlan2: 0000 9. -90. 0"], -90),
    ],
)
def test_the_best_signal_is_told(tmp_path: Path, lines: list[str], level_dbm: int | None) -> None:
    """Of several interfaces the strongest counts, and only levels that are decibels."""
    put(tmp_path, "proc/net/wireless", WIRELESS + "\n".join(lines) + "\n")

    assert described(root=tmp_path).get("wifi_signal_dbm") == level_dbm


@pytest.mark.parametrize("text", ["", "\n", "nan 1", "inf 1", "-5 1", "1e300 1", "soon", "9" * 20])
def test_an_uptime_that_cannot_be_is_left_out(tmp_path: Path, text: str) -> None:
    """The machine's age is a plausible number of seconds."""
    put(tmp_path, "proc/uptime", text)

    assert "uptime_s" not in described(root=tmp_path)


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    """Folders in place of files, and links that lead round in a circle, break nothing."""
    for name in ("proc/net/wireless", "proc/uptime", "proc/device-tree/model"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "run/systemd").mkdir(parents=True)
    (tmp_path / "run/systemd/timesync").symlink_to("timesync")

    assert not FROM_ROOT & set(described(root=tmp_path))


def test_figures_that_cannot_be_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A battery, a load or a memory beyond reason is no figure, and a denied one is none."""

    def deny() -> None:
        raise psutil.AccessDenied

    def fail(_path: str) -> None:
        raise PermissionError

    nan = float("nan")
    sensors(monkeypatch, lambda: SimpleNamespace(percent=nan), dict)
    monkeypatch.setattr(psutil, "getloadavg", lambda: (nan, 0.0, 0.0))
    monkeypatch.setattr(psutil, "cpu_count", lambda: None)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=9, total=0))
    monkeypatch.setattr(psutil, "disk_usage", fail)
    monkeypatch.setattr(psutil, "Process", deny)

    absent = {"battery", "load", "cpu_count", "memory_available_mb", "memory_total_mb"}
    assert not (absent | {"disk_free_mb", "agent_memory_mb"}) & set(described())


@given(st.binary(max_size=300))
def test_no_garbage_breaks_a_report(garbage: bytes) -> None:
    """Whatever the files hold, there is a report, and its numbers are plausible."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        put(root, "proc/net/wireless", garbage)
        put(root, "proc/uptime", garbage)
        put(root, "sys/devices/platform/soc/soc:firmware/get_throttled", garbage)
        report = described(root=root)

    assert -120 <= report.get("wifi_signal_dbm", -1) < 0
    assert report.get("uptime_s", 0) >= 0

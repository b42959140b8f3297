"""What somebody beside the camera can do and see."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from camagent.errors import SettingsError
from camagent.privacy import InUseLight, KillSwitch
from tests.support import running, until


async def test_a_file_switches_off_and_its_absence_on(tmp_path: Path) -> None:
    """Each change is told once and logged once."""
    moves: list[bool] = []
    file = tmp_path / "camera-off"
    switch = KillSwitch(file, moves.append)
    with capture_logs() as events:
        async with running(switch.run()):
            file.touch()
            await until(lambda: switch.is_on)
            file.unlink()
            await until(lambda: not switch.is_on)

    assert moves == [True, False]
    assert [event["event"] for event in events] == ["camera.switched_off", "camera.switched_on"]
    assert {event["log_level"] for event in events} == {"warning"}


def test_a_link_that_leads_nowhere_is_a_file(tmp_path: Path) -> None:
    """Whatever lies there by that name counts."""
    file = tmp_path / "camera-off"
    file.symlink_to(tmp_path / "none")
    switch = KillSwitch(file, lambda _is_on: None)
    switch.look()

    assert switch.is_on


def test_a_file_that_cannot_be_looked_at_counts_as_there(tmp_path: Path) -> None:
    """In doubt the camera stays off, and the log says why."""
    switch = KillSwitch(tmp_path / ("x" * 300), lambda _is_on: None)
    with capture_logs() as events:
        switch.look()

    assert switch.is_on
    assert "too long" in events[0]["problem"]


def led(folder: Path, name: str = "ACT") -> Path:
    made = folder / name
    made.mkdir()
    (made / "brightness").write_text("0")
    (made / "max_brightness").write_text("255\n")
    (made / "trigger").write_text("mmc0")
    return made


def test_the_light_shows_an_open_camera(tmp_path: Path) -> None:
    """It is taken from the kernel, lit as bright as it goes, and put out."""
    made = led(tmp_path)
    light = InUseLight("ACT", leds=tmp_path)
    light.show(is_lit=True)
    assert (made / "brightness").read_text() == "255"
    assert (made / "trigger").read_text() == "none"
    light.show(is_lit=False)
    assert (made / "brightness").read_text() == "0"


def test_a_light_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    """The start stops, and the names that would do are told."""
    led(tmp_path, "PWR")
    with pytest.raises(SettingsError, match=r"CAMAGENT_IN_USE_LED=ACT: no such LED.*: PWR"):
        InUseLight("ACT", leds=tmp_path)


def test_a_light_that_fails_is_told_and_nothing_more(tmp_path: Path) -> None:
    """Viewers do not suffer from a light."""
    made = led(tmp_path)
    light = InUseLight("ACT", leds=tmp_path)
    (made / "trigger").unlink()
    (made / "trigger").mkdir()
    with capture_logs() as events:
        light.show(is_lit=True)
        light.show(is_lit=True)

    assert [event["event"] for event in events] == ["light.failed"]

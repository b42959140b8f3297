"""What somebody beside the camera can do and see: a file that switches it off, a light while it is on."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import structlog

from camagent.errors import SettingsError

log = structlog.get_logger(__name__)

SWITCHED_OFF = "this camera is switched off where it stands"
"""What a viewer reads meanwhile."""

_LOOK_INTERVAL_S = 0.5


class KillSwitch:
    """A file that keeps the camera off while it exists.

    A file that may or may not be there, for it cannot be looked at, counts as there.
    """

    def __init__(self, path: Path, on_change: Callable[[bool], None]) -> None:
        self._path = path
        self._on_change = on_change
        self.is_on = False

    def look(self) -> None:
        """Find out whether the file is there, and tell if that changed."""
        is_on, problem = self._look()
        if is_on == self.is_on:
            return
        self.is_on = is_on
        event = "camera.switched_off" if is_on else "camera.switched_on"
        log.warning(event, file=str(self._path), **({"problem": problem} if problem else {}))
        self._on_change(is_on)

    async def run(self) -> NoReturn:
        """Look twice a second until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_INTERVAL_S)

    def _look(self) -> tuple[bool, str | None]:
        try:
            self._path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False, None
        except OSError as error:
            return True, str(error)
        return True, None


class InUseLight:
    """One LED of this machine, lit while the camera is open.

    A GPIO pin is an LED as well once the device tree says so (`dtoverlay=gpio-led`).

    Raises:
        SettingsError: there is no such LED.
    """

    def __init__(self, name: str, *, leds: Path = Path("/sys/class/leds")) -> None:
        self._folder = leds / name
        self._is_lit: bool | None = None
        if not (self._folder / "brightness").exists():
            there = ", ".join(sorted(led.name for led in leds.glob("*"))) or "none"
            raise SettingsError(
                [f"CAMAGENT_IN_USE_LED={name}: no such LED; here there is: {there}"]
            )

    def show(self, *, is_lit: bool) -> None:
        """Light it or put it out; a light that fails is logged once and changes nothing else."""
        if is_lit == self._is_lit:
            return
        self._is_lit = is_lit
        try:
            # Whatever else drives the LED, such as the kernel's heartbeat, lets go of it.
            (self._folder / "trigger").write_text("none")
            brightest = (self._folder / "max_brightness").read_text().strip()
            (self._folder / "brightness").write_text(brightest if is_lit else "0")
        except OSError as error:
            log.warning("light.failed", led=self._folder.name, cause=str(error))

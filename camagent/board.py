"""What only a Raspberry Pi tells: its model, and whether power or heat holds it back.

The firmware keeps a bit for each strain now, and 16 bits higher one for each strain that there was.
Raspberry Pi's own kernels showed them all until 2025, and since 4.19 warn once per boot that this
goes away; then they show an alarm for under-voltage only, as every other kernel does
(https://github.com/raspberrypi/linux/pull/6697).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_BITS = (
    "sys/bus/platform/drivers/raspberrypi-firmware/*/get_throttled",
    "sys/devices/platform/soc/soc:firmware/get_throttled",
)
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_UNDER_VOLTAGE = 0b0001
_CAPPED_THROTTLED_OR_HOT = 0b1110
_SINCE_BOOT_SHIFT = 16

_HWMON = "sys/class/hwmon/hwmon*"
_VOLTAGE_MONITOR = "rpi_volt"

_LONGEST_MODEL = 128


@dataclass(frozen=True)
class Strain:
    """Something that holds the board back.

    Attributes:
        now: within the last two seconds, in which the kernel asks the firmware once.
        since_boot: True if firmware and kernel remember it; None where they do not, for the kernel
            makes the firmware forget, and a False would mean nothing.
    """

    now: bool
    since_boot: Literal[True] | None = None


@dataclass(frozen=True)
class Strains:
    """What strains the board, each None where nobody tells.

    Attributes:
        throttled: the processor is slowed down, for whichever reason.
    """

    under_voltage: Strain | None = None
    throttled: Strain | None = None


def read_strains(root: Path = Path("/")) -> Strains:
    """Ask the kernel what the firmware has found."""
    for path in (path for pattern in _BITS for path in _found(root, pattern)):
        text = _text(path)
        if text is not None and re.fullmatch(r"[0-9a-fA-F]{1,8}", text):
            return _strains(int(text, 16))
    return Strains(under_voltage=_alarm(root))


def read_model(root: Path = Path("/")) -> str | None:
    """Name the board, as in "Raspberry Pi 4 Model B Rev 1.5"."""
    text = _text(root / "proc/device-tree/model") or ""
    model = text.partition("\0")[0].strip()
    return model if model.isprintable() and 0 < len(model) <= _LONGEST_MODEL else None


def _strains(bits: int) -> Strains:
    now, since_boot = bits, bits >> _SINCE_BOOT_SHIFT

    def strain(mask: int) -> Strain:
        return Strain(now=bool(now & mask), since_boot=True if since_boot & mask else None)

    return Strains(under_voltage=strain(_UNDER_VOLTAGE), throttled=strain(_CAPPED_THROTTLED_OR_HOT))


def _alarm(root: Path) -> Strain | None:
    for folder in _found(root, _HWMON):
        if _text(folder / "name") == _VOLTAGE_MONITOR:
            alarm = _text(folder / "in0_lcrit_alarm")
            return Strain(now=alarm == "1") if alarm in {"0", "1"} else None
    return None


def _found(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(root.glob(pattern))
    except OSError:
        return []


def _text(path: Path) -> str | None:
    """Read a small file; one that cannot be read, or is no text, counts as none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None

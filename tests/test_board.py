"""What only a Raspberry Pi tells, read from folders that look like one."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.board import Strain, Strains, read_model, read_strains

DRIVER = "sys/bus/platform/drivers/raspberrypi-firmware"
WELL = Strain(now=False)


def put(root: Path, name: str, text: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def put_bits(root: Path, text: str, *, device: str = "soc/soc:firmware") -> Path:
    """Show the firmware's bits as the kernel does: the driver's folder has a link to the device."""
    path = put(root, f"sys/devices/platform/{device}/get_throttled", text)
    link = root / DRIVER / path.parent.name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(path.parent)
    return path


def put_alarm(root: Path, text: str) -> None:
    put(root, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    put(root, "sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1\n")
    put(root, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    put(root, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", text)


@pytest.mark.parametrize(
    ("text", "under_voltage", "throttled"),
    [
        ("0\n", WELL, WELL),
        ("1\n", Strain(now=True), WELL),
        ("2\n", WELL, Strain(now=True)),
        ("4\n", WELL, Strain(now=True)),
        ("8\n", WELL, Strain(now=True)),
        ("10000\n", Strain(now=False, since_boot=True), WELL),
        ("20000\n", WELL, Strain(now=False, since_boot=True)),
        ("40000\n", WELL, Strain(now=False, since_boot=True)),
        ("80000\n", WELL, Strain(now=False, since_boot=True)),
        ("50005", Strain(now=True, since_boot=True), Strain(now=True, since_boot=True)),
        ("e0008\n", WELL, Strain(now=True, since_boot=True)),
        ("fff0fff0\n", WELL, WELL),
    ],
)
def test_the_firmwares_bits_are_told_apart(
    tmp_path: Path, text: str, under_voltage: Strain, throttled: Strain
) -> None:
    """Each bit is power or speed, now or since the start; bits of unknown meaning are neither."""
    put_bits(tmp_path, text)

    assert read_strains(tmp_path) == Strains(under_voltage=under_voltage, throttled=throttled)


def test_a_pi_5_shows_its_bits_elsewhere(tmp_path: Path) -> None:
    """The driver's folder leads to the device, whatever its address is."""
    put_bits(tmp_path, "50000\n", device="soc@107c000000/soc@107c000000:firmware")
    strain = Strain(now=False, since_boot=True)

    assert read_strains(tmp_path) == Strains(under_voltage=strain, throttled=strain)


def test_the_older_path_is_known(tmp_path: Path) -> None:
    """A kernel without the driver's folder shows the bits below the device alone."""
    put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "1")

    assert read_strains(tmp_path).under_voltage == Strain(now=True)


@pytest.mark.parametrize(("text", "now"), [("0\n", False), ("1\n", True)])
def test_the_voltage_monitor_tells_the_present(tmp_path: Path, text: str, now: bool) -> None:
    """Where the bits are not shown, the right monitor's alarm is all there is to tell."""
    put_alarm(tmp_path, text)

    assert read_strains(tmp_path) == Strains(under_voltage=Strain(now=now))


def test_the_bits_tell_more_than_the_monitor(tmp_path: Path) -> None:
    """Where both are there, the bits are told."""
    put_alarm(tmp_path, "1\n")
    put_bits(tmp_path, "0\n")

    assert read_strains(tmp_path) == Strains(under_voltage=WELL, throttled=WELL)


@pytest.mark.parametrize(
    "text", ["", "\n", "nan", "0x50005", "-1", "+1", "1_0", "100000000", "throttled=0", "\u0661"]
)
def test_nonsense_counts_as_no_bits(tmp_path: Path, text: str) -> None:
    """The voltage monitor is asked in the place of bits that are none."""
    put_bits(tmp_path, text)
    put_alarm(tmp_path, "1\n")

    assert read_strains(tmp_path) == Strains(under_voltage=Strain(now=True))


@pytest.mark.parametrize("text", ["", "2", "-1", "true", "nan"])
def test_an_alarm_is_on_or_off(tmp_path: Path, text: str) -> None:
    """Any other value counts as none."""
    put_alarm(tmp_path, text)

    assert read_strains(tmp_path) == Strains()


def test_what_cannot_be_read_is_not_there(tmp_path: Path) -> None:
    """Folders in place of files, and links that lead round in a circle, break nothing."""
    put_bits(tmp_path, "1").unlink()
    (tmp_path / DRIVER / "soc:firmware/get_throttled").mkdir()
    put(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    (tmp_path / "sys/class/hwmon/hwmon1/in0_lcrit_alarm").symlink_to("in0_lcrit_alarm")
    (tmp_path / "proc/device-tree/model").mkdir(parents=True)

    assert read_strains(tmp_path) == Strains()
    assert read_model(tmp_path) is None


@pytest.fixture
def nobody() -> Iterator[None]:
    """Read files as anybody would, for root may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_what_may_not_be_read_is_not_there(nobody: None) -> None:
    """Files of somebody else count as none."""
    with tempfile.TemporaryDirectory() as folder:
        is_nothing_read(Path(folder))


def is_nothing_read(tmp_path: Path) -> None:
    put_bits(tmp_path, "1").chmod(0)
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 5\0").chmod(0)

    assert read_strains(tmp_path) == Strains()
    assert read_model(tmp_path) is None


def test_a_laptop_has_neither_strains_nor_a_model(tmp_path: Path) -> None:
    """Nothing is invented for a machine that is no Pi."""
    assert read_strains(tmp_path) == Strains()
    assert read_model(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("Raspberry Pi 4 Model B Rev 1.5\0", "Raspberry Pi 4 Model B Rev 1.5"),
        ("Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi 5 Model B Rev 1.0"),
        ("Raspberry Pi Zero 2 W\0left over", "Raspberry Pi Zero 2 W"),
        ("\0", None),
        ("Pi\n<3>forged\0", None),
        ("x" * 129, None),
        (b"\xff\xfe", None),
    ],
)
def test_the_model_is_one_line(tmp_path: Path, text: str | bytes, model: str | None) -> None:
    """The name ends at the NUL; what is no name is left out."""
    put(tmp_path, "proc/device-tree/model", text)

    assert read_model(tmp_path) == model


@given(st.binary(max_size=200))
def test_no_garbage_breaks_the_reading(garbage: bytes) -> None:
    """Whatever the files hold, strains and model are right or left out."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        put(root, "sys/devices/platform/soc/soc:firmware/get_throttled", garbage)
        put(root, "sys/class/hwmon/hwmon0/name", "rpi_volt")
        put(root, "sys/class/hwmon/hwmon0/in0_lcrit_alarm", garbage)
        put(root, "proc/device-tree/model", garbage)
        read_strains(root)
        model = read_model(root)

    assert model is None or model.isprintable()

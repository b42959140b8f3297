"""What /proc/cpuinfo tells."""

from pathlib import Path

import pytest

from camagent.processor import has_aes_instructions

PI_5 = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics\n"
PI_4 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
LAPTOP = "processor\t: 0\nvendor_id\t: x\nflags\t\t: fpu vme sse4_2 aes xsave\n"


@pytest.mark.parametrize(("text", "has_it"), [(PI_5, True), (PI_4, False), (LAPTOP, True)])
def test_aes_instructions_are_found(tmp_path: Path, text: str, has_it: bool) -> None:
    """On a Pi 5 and on most laptops, not on a Pi 4."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(text)
    assert has_aes_instructions(tmp_path) is has_it


def test_nothing_known_is_nothing_there(tmp_path: Path) -> None:
    """A machine that does not tell is taken for one without."""
    assert not has_aes_instructions(tmp_path)

"""The Raspberry Pi rig: a Debian root with the real picamera2, on a camera made of software.

`PI_RIG` names the rig's script. Without it every test here is skipped, and says so.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.machine import Machine, booted
from tests.rig.rig import Rig


@pytest.fixture(scope="session")
def pi_rig() -> str:
    """Give the rig's script."""
    script = os.environ.get("PI_RIG")
    if script is None:
        pytest.skip("PI_RIG is not set: it has to name the script of the Raspberry Pi rig")
    return script


@pytest.fixture
def machine(pi_rig: str, tmp_path: Path) -> Iterator[Machine]:
    """Give a machine that has just booted for the first time, with our sources on its disk."""
    with booted(pi_rig) as built:
        built.become_a_pi()
        built.put_source(tmp_path / "source")
        yield built


@pytest.fixture
def rig(pi_rig: str, tmp_path: Path) -> Rig:
    """Give the rig, with this source tree inside."""
    return Rig.prepared(pi_rig, tmp_path)

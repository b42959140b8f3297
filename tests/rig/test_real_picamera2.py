"""The claims about picamera2, of the real one in the rig."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.picamera2_contract import Picamera2Contract
from tests.rig.conftest import Rig

pytestmark = pytest.mark.rig


@dataclass(frozen=True)
class RealWorld:
    rig: Rig

    def run(self, behaviour: str, *, encoder_fault: str = "") -> Any:
        script = "picamera2_behaviours.py"
        return self.rig.run(behaviour, encoder_fault=encoder_fault, script=script)


@pytest.fixture
def world(rig: Rig) -> RealWorld:
    return RealWorld(rig)


class TestRealPicamera2(Picamera2Contract):
    """The fake is held to these as well."""

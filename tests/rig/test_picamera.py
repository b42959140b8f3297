"""The claims about the Pi camera, with the real picamera2."""

import pytest

from tests.picamera_contract import PiCameraContract
from tests.rig.conftest import Rig

pytestmark = pytest.mark.rig


class TestPiCamera(PiCameraContract):
    @pytest.fixture
    def world(self, rig: Rig) -> Rig:
        return rig

"""The cameras that are plugged in: as many as FAKE_CAMERAS says, or the file that it names."""

import json
import os
from pathlib import Path
from typing import Any, ClassVar

from libcamera.controls import ControlId, ControlInfo, controls_of

_CABLES = (
    ("imx708", "/base/soc/i2c0mux/i2c@1/imx708@1a", (4608, 2592)),
    ("imx219", "/base/soc/i2c0mux/i2c@0/imx219@10", (3280, 2464)),
)


class Camera:
    """One sensor; a program may acquire it once."""

    is_sensor_hdr: ClassVar[bool] = False
    """Of the imx708; kept by its driver."""

    def __init__(self, model: str, identifier: str, size: tuple[int, int]) -> None:
        self.id = identifier
        self.size = size
        thirds = [(size[0] // 3, size[1] // 3), (size[0] // 2, size[1] // 2), size]
        is_hdr = model == "imx708" and self.is_sensor_hdr
        self.modes = thirds[1:2] if is_hdr else thirds
        full = (0, 0, *size)
        self.controls: dict[ControlId, ControlInfo] = controls_of(model, size)
        self.properties: dict[ControlId, Any] = {
            ControlId("PixelArrayActiveAreas"): [full],
            ControlId("Location"): 1,
            ControlId("Model"): model,
            ControlId("PixelArraySize"): size,
            ControlId("ScalerCropMaximum"): full,
            ControlId("ColorFilterArrangement"): 0,
            ControlId("Rotation"): 180,
            ControlId("PipelineHandler"): "virtual",
        }
        self._is_acquired = False

    def acquire(self) -> None:
        if self._is_acquired:
            raise RuntimeError("Failed to acquire camera: Device or resource busy")
        self._is_acquired = True

    def release(self) -> None:
        self._is_acquired = False


class CameraManager:
    """Finds the cameras when it is made, and never again."""

    _made: ClassVar["CameraManager | None"] = None

    def __init__(self) -> None:
        self.cameras = [Camera(*cable) for cable in _CABLES[: _count() if _is_tuned() else 0]]

    @classmethod
    def singleton(cls) -> "CameraManager":
        if cls._made is None:
            cls._made = cls()
        return cls._made

    @classmethod
    def forget(cls) -> None:
        """Look for cameras anew at the next `singleton()`, as libcamera does once all let go."""
        cls._made = None


def _is_tuned() -> bool:
    """Read the tuning file, as libcamera does when it looks for cameras and never again."""
    try:
        json.loads(Path(os.environ["LIBCAMERA_RPI_TUNING_FILE"]).read_text())
    except KeyError:
        return True
    except ValueError:
        return False
    return True


def _count() -> int:
    told = os.environ.get("FAKE_CAMERAS", "1")
    return int(told if told.isdigit() else Path(told).read_text())

"""What a camera lets itself be told, with the ranges of the rig's camera."""

import enum
from dataclasses import dataclass
from typing import Any


class AfModeEnum(enum.IntEnum):
    Manual = 0
    Auto = 1
    Continuous = 2


class AfStateEnum(enum.IntEnum):
    Idle = 0
    Scanning = 1
    Focused = 2
    Failed = 3


class AfRangeEnum(enum.IntEnum):
    Normal = 0
    Macro = 1
    Full = 2


class AfSpeedEnum(enum.IntEnum):
    Normal = 0
    Fast = 1


class AfTriggerEnum(enum.IntEnum):
    Start = 0
    Cancel = 1


class AeExposureModeEnum(enum.IntEnum):
    Normal = 0
    Short = 1
    Long = 2
    Custom = 3


class AeMeteringModeEnum(enum.IntEnum):
    CentreWeighted = 0
    Spot = 1
    Matrix = 2
    Custom = 3


class AeFlickerModeEnum(enum.IntEnum):
    Off = 0
    Manual = 1
    Auto = 2


class AwbModeEnum(enum.IntEnum):
    Auto = 0
    Incandescent = 1
    Tungsten = 2
    Fluorescent = 3
    Indoor = 4
    Daylight = 5
    Cloudy = 6
    Custom = 7


class HdrModeEnum(enum.IntEnum):
    Off = 0
    MultiExposureUnmerged = 1
    MultiExposure = 2
    SingleExposure = 3
    Night = 4


class draft:  # noqa: N801 - libcamera's name
    class NoiseReductionModeEnum(enum.IntEnum):
        Off = 0
        Fast = 1
        HighQuality = 2
        Minimal = 3
        ZSL = 4


@dataclass(frozen=True)
class ControlId:
    name: str


@dataclass(frozen=True)
class ControlInfo:
    min: Any
    max: Any
    default: Any


def controls_of(model: str, size: tuple[int, int]) -> dict[ControlId, ControlInfo]:
    """List what a sensor of this model and size in pixels offers."""
    full = (0, 0, *size)
    ranges = dict(_COMMON) | {"ScalerCrop": ((0, 0, 64, 64), full, full)}
    if model == "imx708":
        ranges |= _IMX708
    return {ControlId(name): ControlInfo(*values) for name, values in ranges.items()}


_COMMON: dict[str, tuple[Any, Any, Any]] = {
    "AeConstraintMode": (0, 3, 0),
    "AeEnable": (False, True, True),
    "AeExposureMode": (0, 3, 0),
    "AeFlickerMode": (0, 1, 0),
    "AeFlickerPeriod": (100, 1_000_000, None),
    "AeMeteringMode": (0, 3, 0),
    "AnalogueGain": (1.0, 16.0, 1.0),
    "AnalogueGainMode": (0, 1, 0),
    "AwbEnable": (False, True, True),
    "AwbMode": (0, 7, 0),
    "Brightness": (-1.0, 1.0, 0.0),
    "ColourGains": (0.0, 32.0, None),
    "ColourTemperature": (100, 100_000, None),
    "Contrast": (0.0, 32.0, 1.0),
    "ExposureTime": (1, 66_666, 20_000),
    "ExposureTimeMode": (0, 1, 0),
    "ExposureValue": (-8.0, 8.0, 0.0),
    "FaceDetectMode": (0, 0, 0),
    "FrameDurationLimits": (8_333, 1_000_000, 33_333),
    "NoiseReductionMode": (0, 4, 0),
    "Saturation": (0.0, 32.0, 1.0),
    "Sharpness": (0.0, 16.0, 1.0),
}
_IMX708: dict[str, tuple[Any, Any, Any]] = {
    "AfMetering": (0, 1, 0),
    "AfMode": (0, 2, 0),
    "AfPause": (0, 2, 0),
    "AfRange": (0, 2, 0),
    "AfSpeed": (0, 1, 0),
    "AfTrigger": (0, 1, 0),
    "AfWindows": ((0, 0, 0, 0), (65_535, 65_535, 65_535, 65_535), None),
    "HdrMode": (0, 4, 0),
    "LensPosition": (0.0, 15.0, 1.0),
}

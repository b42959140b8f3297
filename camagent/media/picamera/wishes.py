"""What is asked of a Pi camera, in plain values that travel to another process and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class CameraWishes:
    """What is asked of a camera; None leaves it to libcamera.

    The settings of the same names say what each means. `names` tells how a wish, or a field of
    `EncoderOptions`, is called where it was made, for sentences about it.
    """

    id: str = "0"
    sensor_width_px: int | None = None
    sensor_height_px: int | None = None
    sensor_bit_depth: int | None = None
    rotation_deg: int = 0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    exposure_time_us: int | None = None
    exposure_value: float | None = None
    metering: str | None = None
    flicker: str | None = None
    analogue_gain: float | None = None
    white_balance: str | None = None
    red_gain: float | None = None
    blue_gain: float | None = None
    autofocus: str | None = None
    lens_position_dioptres: float | None = None
    focus_range: str | None = None
    brightness: float | None = None
    contrast: float | None = None
    saturation: float | None = None
    sharpness: float | None = None
    noise_reduction: str | None = None
    hdr: str | None = None
    zoom: float | None = None
    zoom_centre_x: float = 0.5
    zoom_centre_y: float = 0.5
    tuning_file: str | None = None
    names: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def flips(self) -> tuple[bool, bool]:
        """Whether the picture is to be mirrored left to right, and top to bottom."""
        is_turned = self.rotation_deg == 180  # noqa: PLR2004 - half a turn is both flips
        return self.horizontal_flip is not is_turned, self.vertical_flip is not is_turned

    def told(self, wish: str, value: object) -> str:
        """Write what was asked for as it was."""
        return f"{self.names.get(wish, wish)}={shown(value)}"


def shown(value: object) -> str:
    """Write a value as a person would: libcamera's 1.12 is 1.1200000047683716 to Python."""
    return f"{value:g}" if isinstance(value, float) else str(value)

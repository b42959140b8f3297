"""What an operator may ask of a Pi camera, beyond the size and rate of its picture.

Ranges stand here where they hold for every camera; the camera itself is asked about the others.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, FilePath, field_validator, model_validator

Finite = Annotated[float, Field(allow_inf_nan=False)]


class CameraSettings(BaseModel, frozen=True, extra="forbid"):
    """Left unset, each is as libcamera has it by itself."""

    id: str = Field(
        default="0",
        min_length=1,
        max_length=256,
        description="which Pi camera: its number, counted from 0, or its id, both as "
        "rpicam-hello --list-cameras shows them; default 0",
    )
    sensor_width_px: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="with SENSOR_HEIGHT_PX the sensor mode that pictures are scaled from, as "
        "rpicam-hello --list-cameras shows it; default: one that fits the picture",
    )
    sensor_height_px: int | None = Field(
        default=None, ge=1, le=65535, description="see SENSOR_WIDTH_PX"
    )
    sensor_bit_depth: int | None = Field(
        default=None,
        ge=8,
        le=16,
        description="bits per pixel of the sensor mode, 8 to 16; default: the most that it has",
    )
    rotation_deg: int = Field(
        default=0,
        ge=0,
        le=180,
        multiple_of=180,
        description="0, or 180 for a camera that hangs upside down; default 0",
    )
    horizontal_flip: bool = Field(
        default=False, description="true mirrors the picture left to right; default false"
    )
    vertical_flip: bool = Field(
        default=False, description="true mirrors the picture top to bottom; default false"
    )
    exposure_time_us: int | None = Field(
        default=None, ge=1, description="a fixed exposure in microseconds; default: automatic"
    )
    exposure_value: Finite | None = Field(
        default=None,
        ge=-8,
        le=8,
        description="stops by which automatic exposure makes the picture brighter, -8 to 8",
    )
    metering: Literal["centre-weighted", "spot", "matrix"] | None = Field(
        default=None,
        description="what automatic exposure looks at: centre-weighted, spot or matrix",
    )
    flicker: Literal["off", "50hz", "60hz"] | None = Field(
        default=None,
        description="the mains whose lamps should not make bands: 50hz, 60hz, or off",
    )
    analogue_gain: Finite | None = Field(
        default=None, gt=0, description="a fixed gain of the sensor, 1 or more; default: automatic"
    )
    white_balance: (
        Literal["auto", "incandescent", "tungsten", "fluorescent", "indoor", "daylight", "cloudy"]
        | None
    ) = Field(
        default=None,
        description="auto, incandescent, tungsten, fluorescent, indoor, daylight or cloudy",
    )
    red_gain: Finite | None = Field(
        default=None,
        gt=0,
        description="with BLUE_GAIN a fixed white balance: gain of red over green, more than 0",
    )
    blue_gain: Finite | None = Field(
        default=None, gt=0, description="gain of blue over green, more than 0; see RED_GAIN"
    )
    autofocus: Literal["manual", "auto", "continuous"] | None = Field(
        default=None,
        description="manual (the lens stays), auto (it focuses once when the camera opens) or "
        "continuous",
    )
    lens_position_dioptres: Finite | None = Field(
        default=None,
        ge=0,
        description="a fixed focus: 1 divided by the distance in metres, 0 is infinity",
    )
    focus_range: Literal["normal", "macro", "full"] | None = Field(
        default=None, description="where autofocus looks: normal, macro (near) or full"
    )
    brightness: Finite | None = Field(
        default=None, ge=-1, le=1, description="-1 to 1, where 0 changes nothing"
    )
    contrast: Finite | None = Field(
        default=None, ge=0, description="0 or more, where 1 changes nothing"
    )
    saturation: Finite | None = Field(
        default=None, ge=0, description="0 (grey) or more, where 1 changes nothing"
    )
    sharpness: Finite | None = Field(
        default=None, ge=0, description="0 or more, where 1 changes nothing"
    )
    noise_reduction: Literal["off", "fast", "high-quality", "minimal"] | None = Field(
        default=None, description="off, fast, high-quality or minimal"
    )
    hdr: Literal["off", "sensor", "multi-exposure", "single-exposure", "night"] | None = Field(
        default=None,
        description="off; sensor (Camera Module 3); multi-exposure, single-exposure or night (Pi 5)",
    )
    zoom: Finite | None = Field(
        default=None,
        ge=1,
        description="how many times larger, 1 or more: 2 shows half of the width and half of the "
        "height",
    )
    zoom_centre_x: Finite = Field(
        default=0.5,
        ge=0,
        le=1,
        description="what the zoom is centred on: 0 is the left edge of the whole picture, 1 the "
        "right one; default 0.5",
    )
    zoom_centre_y: Finite = Field(
        default=0.5, ge=0, le=1, description="0 is the top edge, 1 the bottom one; default 0.5"
    )
    tuning_file: FilePath | None = Field(
        default=None,
        description="a file that the service can read, made for this sensor and Pi by libcamera's "
        "tuning tool; default: libcamera's own",
    )

    @field_validator("tuning_file")
    @classmethod
    def _is_readable(cls, path: FilePath | None) -> FilePath | None:
        if path is not None:
            with path.open("rb") as file:
                file.read(1)
        return path

    @model_validator(mode="after")
    def _names_a_whole_mode(self) -> Self:
        size = (self.sensor_width_px, self.sensor_height_px)
        if (None in size and size != (None, None)) or (
            size == (None, None) and self.sensor_bit_depth is not None
        ):
            raise ValueError(
                "a sensor mode needs both CAMAGENT_CAMERA__SENSOR_WIDTH_PX and "
                "CAMAGENT_CAMERA__SENSOR_HEIGHT_PX"
            )
        return self

    @model_validator(mode="after")
    def _balances_white_in_one_way(self) -> Self:
        gains = (self.red_gain, self.blue_gain)
        if None in gains and gains != (None, None):
            raise ValueError(
                "a fixed white balance needs both CAMAGENT_CAMERA__RED_GAIN and "
                "CAMAGENT_CAMERA__BLUE_GAIN"
            )
        if self.red_gain is not None and self.white_balance is not None:
            raise ValueError(
                "CAMAGENT_CAMERA__WHITE_BALANCE and fixed gains exclude each other; take one away"
            )
        return self

    @model_validator(mode="after")
    def _focuses_in_one_way(self) -> Self:
        if self.lens_position_dioptres is not None and self.autofocus in {"auto", "continuous"}:
            raise ValueError(
                "CAMAGENT_CAMERA__LENS_POSITION_DIOPTRES is a fixed focus, for which "
                "CAMAGENT_CAMERA__AUTOFOCUS has to be manual or unset"
            )
        return self

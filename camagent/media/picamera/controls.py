"""What is asked of a Pi camera, held against what that camera says it can do.

What it advertises goes in, libcamera's controls come out; nothing here touches a camera. picamera2
takes any value, and libcamera bends one that does not fit, so each range is looked at here. The
numbers of choices are libcamera's (its control_ids), which a contract test compares.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from camagent.errors import CameraRefused
from camagent.media.encoder import EncoderOptions
from camagent.media.picamera.abilities import Abilities
from camagent.media.picamera.wishes import CameraWishes, shown

Rectangle = tuple[int, int, int, int]
"""Left, top, width, height in pixels of the sensor."""

_NUMBERS = {
    "exposure_time_us": "ExposureTime",
    "exposure_value": "ExposureValue",
    "analogue_gain": "AnalogueGain",
    "lens_position_dioptres": "LensPosition",
    "brightness": "Brightness",
    "contrast": "Contrast",
    "saturation": "Saturation",
    "sharpness": "Sharpness",
}
CHOICES: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "metering": ("AeMeteringMode", {"centre-weighted": 0, "spot": 1, "matrix": 2}),
    "flicker": ("AeFlickerMode", {"off": 0, "50hz": 1, "60hz": 1}),
    "white_balance": (
        "AwbMode",
        {
            "auto": 0,
            "incandescent": 1,
            "tungsten": 2,
            "fluorescent": 3,
            "indoor": 4,
            "daylight": 5,
            "cloudy": 6,
        },
    ),
    "autofocus": ("AfMode", {"manual": 0, "auto": 1, "continuous": 2}),
    "focus_range": ("AfRange", {"normal": 0, "macro": 1, "full": 2}),
    "noise_reduction": (
        "NoiseReductionMode",
        {"off": 0, "fast": 1, "high-quality": 2, "minimal": 3},
    ),
}
ISP_HDR = {"multi-exposure": 2, "single-exposure": 3, "night": 4}
_FLICKER_PERIODS_US = {"50hz": 10_000, "60hz": 8_333}
_CONTROLS = {
    **_NUMBERS,
    **{wish: control for wish, (control, _) in CHOICES.items()},
    "red_gain": "ColourGains",
    "blue_gain": "ColourGains",
    "zoom": "ScalerCrop",
}
"""The control that each wish needs; what is not here needs none."""

_TURNS = ("rotation_deg", "horizontal_flip", "vertical_flip")
_RATE_SLACK = 1.01
"""A sensor that makes 59.6 pictures per second is not refused where 60 are asked for."""


def sensor_for(wishes: CameraWishes, modes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give picamera2's `sensor` for the mode that is wished; empty if there is none such.

    The bit depth always stands in it: left out, picamera2 takes that of the largest mode, and
    would rather change the size.
    """
    fitting = [
        mode
        for mode in modes
        if mode.get("size") == (wishes.sensor_width_px, wishes.sensor_height_px)
        and wishes.sensor_bit_depth in {None, mode["bit_depth"]}
    ]
    if not fitting:
        return {}
    best = max(fitting, key=lambda mode: int(mode["bit_depth"]))
    return {"output_size": best["size"], "bit_depth": best["bit_depth"]}


def controls_for(
    wishes: CameraWishes, options: EncoderOptions, camera: Abilities
) -> dict[str, Any]:
    """Give libcamera's controls for `wishes`, and for the rate of `options`.

    Raises:
        CameraRefused: with one sentence for each wish that `camera` cannot fulfil.
    """
    refused = [
        *_wrong_picture(wishes, options, camera),
        *_missing(wishes, camera),
        *_wrong_numbers(wishes, options, camera),
        *_wrong_choices(wishes, camera),
        *_wrong_hdr(wishes, camera),
    ]
    if refused:
        raise CameraRefused(refused)
    return _controls(wishes, options, camera)


def _controls(wishes: CameraWishes, options: EncoderOptions, camera: Abilities) -> dict[str, Any]:
    controls: dict[str, Any] = {}
    if "FrameDurationLimits" in camera.controls:
        controls["FrameDurationLimits"] = (_picture_us(options),) * 2
    for wish, value in _asked(wishes):
        if wish in _NUMBERS:
            controls[_NUMBERS[wish]] = value
        elif wish in CHOICES:
            name, numbers = CHOICES[wish]
            controls[name] = numbers[value]
    if wishes.flicker in _FLICKER_PERIODS_US:
        controls["AeFlickerPeriod"] = _FLICKER_PERIODS_US[wishes.flicker]
    if wishes.lens_position_dioptres is not None and "AfMode" in camera.controls:
        controls["AfMode"] = CHOICES["autofocus"][1]["manual"]
    if wishes.red_gain is not None:
        controls["ColourGains"] = (wishes.red_gain, wishes.blue_gain)
    if wishes.hdr is not None and camera.has_isp_hdr:
        controls["HdrMode"] = ISP_HDR.get(wishes.hdr, 0)
    if wishes.zoom is not None:
        controls |= _crops(_crop(wishes, wishes.zoom, _whole(camera)), camera)
    return controls


def _asked(wishes: CameraWishes) -> Iterator[tuple[str, Any]]:
    """Yield each wish that needs a control of the camera."""
    for wish in _CONTROLS:
        value = getattr(wishes, wish)
        if value is not None:
            yield wish, value


def _missing(wishes: CameraWishes, camera: Abilities) -> Iterator[str]:
    """Say in one sentence which wishes have no control, and which would have one."""
    missing = [
        wishes.told(wish, value)
        for wish, value in _asked(wishes)
        if _CONTROLS[wish] not in camera.controls
    ]
    if missing:
        has = sorted(wish for wish, control in _CONTROLS.items() if control in camera.controls)
        yield f"{', '.join(missing)}: the {camera.model} has no such control; it has " + (
            ", ".join(has) or "none"
        )


def _wrong_numbers(
    wishes: CameraWishes, options: EncoderOptions, camera: Abilities
) -> Iterator[str]:
    for wish, value in _asked(wishes):
        if wish in CHOICES or _CONTROLS[wish] not in camera.controls:
            continue
        least, most, _default = camera.controls[_CONTROLS[wish]]
        at = ""
        if wish == "zoom":
            least, most = 1, _most_zoom(camera)
        elif wish == "exposure_time_us" and _picture_us(options) < most:
            # Longer than a picture lasts, it would be cut to that in silence.
            most, at = _picture_us(options), f" at {options.frames_per_second} frames per second"
        if not least <= value <= most:
            takes = f"the {camera.model} takes {shown(least)} to {shown(most)}{at}"
            yield f"{wishes.told(wish, value)}: {takes}"


def _wrong_choices(wishes: CameraWishes, camera: Abilities) -> Iterator[str]:
    for wish, (control, numbers) in CHOICES.items():
        value = getattr(wishes, wish)
        if value is None or control not in camera.controls:
            continue
        least, most, _default = camera.controls[control]
        possible = [name for name, number in numbers.items() if least <= number <= most]
        if value not in possible:
            yield f"{wishes.told(wish, value)}: the {camera.model} takes {', '.join(possible)}"


def _wrong_hdr(wishes: CameraWishes, camera: Abilities) -> Iterator[str]:
    possible = ["off"]
    if has_sensor_hdr(camera.model):
        possible.append("sensor")
    if camera.has_isp_hdr:
        possible += ISP_HDR
    if wishes.hdr not in {None, *possible}:
        told = wishes.told("hdr", wishes.hdr)
        yield f"{told}: the {camera.model} on this Pi takes {', '.join(possible)}"


def has_sensor_hdr(model: str) -> bool:
    """Tell a sensor that combines exposures itself, of which there is one, in several makes."""
    return model.startswith("imx708")


def _wrong_picture(
    wishes: CameraWishes, options: EncoderOptions, camera: Abilities
) -> Iterator[str]:
    for wish, value, most in zip(
        ("width_px", "height_px"),
        (options.width_px, options.height_px),
        camera.size_px or (options.width_px, options.height_px),
        strict=True,
    ):
        if value > most:
            yield f"{wishes.told(wish, value)}: the {camera.model} has no more than {most}"
    if "FrameDurationLimits" in camera.controls:
        yield from _wrong_rate(wishes, options, camera)
    if wishes.sensor_width_px is not None and not sensor_for(wishes, camera.modes):
        yield _wrong_mode(wishes, camera)
    turns = [wish for wish in _TURNS if getattr(wishes, wish)]
    if turns and camera.flips != wishes.flips:
        told = ", ".join(wishes.told(wish, getattr(wishes, wish)) for wish in turns)
        yield f"{told}: the {camera.model} cannot turn or mirror its picture so"


def _wrong_rate(wishes: CameraWishes, options: EncoderOptions, camera: Abilities) -> Iterator[str]:
    shortest_us, longest_us, _default = camera.controls["FrameDurationLimits"]
    if not shortest_us <= _picture_us(options) * _RATE_SLACK or _picture_us(options) > longest_us:
        told = wishes.told("frames_per_second", options.frames_per_second)
        slowest, fastest = -(-1_000_000 // longest_us), int(1_000_000 * _RATE_SLACK / shortest_us)
        yield (
            f"{told}: the {camera.model} makes {slowest} to {fastest} in this mode of the sensor; "
            "one with fewer pixels may be faster"
        )


def _wrong_mode(wishes: CameraWishes, camera: Abilities) -> str:
    told = wishes.told("sensor_width_px", wishes.sensor_width_px)
    told += f", {wishes.told('sensor_height_px', wishes.sensor_height_px)}"
    if wishes.sensor_bit_depth is not None:
        told += f", {wishes.told('sensor_bit_depth', wishes.sensor_bit_depth)}"
    modes = [
        f"{mode['size'][0]}x{mode['size'][1]} with {mode['bit_depth']} bits"
        for mode in camera.modes
        if "size" in mode
    ]
    return (
        f"{told}: the {camera.model} has the modes {', '.join(modes) or 'that it chooses itself'}"
    )


def _picture_us(options: EncoderOptions) -> int:
    return 1_000_000 // options.frames_per_second


def _whole(camera: Abilities) -> Rectangle:
    """What the picture shows without a zoom; some cameras tell only how much it may show."""
    _least, most, default = camera.controls["ScalerCrop"]
    rectangle: Rectangle = default if default and default[2] and default[3] else most
    return rectangle


def _most_zoom(camera: Abilities) -> float:
    """How far until the least piece of the sensor that the ISP can enlarge, rounded down."""
    least: Rectangle = camera.controls["ScalerCrop"][0]
    _left, _top, width, height = _whole(camera)
    return math.floor(10 * min(width / max(1, least[2]), height / max(1, least[3]))) / 10


def _crop(wishes: CameraWishes, zoom: float, whole: Rectangle) -> Rectangle:
    """Cut a piece out of `whole`: in its shape, around the centre, and not beyond its edges."""
    left, top, whole_width, whole_height = whole
    width, height = round(whole_width / zoom), round(whole_height / zoom)
    x = round(wishes.zoom_centre_x * whole_width - width / 2)
    y = round(wishes.zoom_centre_y * whole_height - height / 2)
    return (
        left + min(max(0, x), whole_width - width),
        top + min(max(0, y), whole_height - height),
        width,
        height,
    )


def _crops(crop: Rectangle, camera: Abilities) -> dict[str, Any]:
    """Crop both pictures. A Pi 5 has a control for each of them, which wins, and picamera2 sets it."""
    if "ScalerCrops" in camera.controls:
        return {"ScalerCrops": [crop, crop]}
    return {"ScalerCrop": crop}

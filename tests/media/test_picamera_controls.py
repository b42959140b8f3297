"""What becomes of wishes: libcamera's controls, or sentences about what a camera cannot do."""

from typing import Any

import pytest

from camagent.errors import CameraRefused
from camagent.media.encoder import EncoderOptions
from camagent.media.picamera.abilities import Abilities
from camagent.media.picamera.controls import controls_for, sensor_for
from camagent.media.picamera.wishes import CameraWishes

OPTIONS = EncoderOptions(
    width_px=1280,
    height_px=720,
    frames_per_second=30,
    bitrate_bps=2_000_000,
    keyframe_interval_s=10,
)
PICTURE_US = {"FrameDurationLimits": (33_333, 33_333)}
# A Camera Module 3 in its second mode, of which the middle is used for a picture of 16:9.
CONTROLS: dict[str, tuple[Any, Any, Any]] = {
    "FrameDurationLimits": (17_849, 220_417_486, 33_333),
    "ExposureTime": (9, 77_193_582, 20_000),
    "ExposureValue": (-8.0, 8.0, 0.0),
    "AeMeteringMode": (0, 3, 0),
    "AeFlickerMode": (0, 1, 0),
    "AeFlickerPeriod": (100, 1_000_000, None),
    "AnalogueGain": (1.1200000047683716, 16.0, 1.1200000047683716),
    "AwbMode": (0, 7, 0),
    "ColourGains": (0.0, 32.0, None),
    "AfMode": (0, 2, 0),
    "AfRange": (0, 2, 0),
    "LensPosition": (0.0, 15.0, 1.0),
    "Brightness": (-1.0, 1.0, 0.0),
    "Contrast": (0.0, 32.0, 1.0),
    "Saturation": (0.0, 32.0, 1.0),
    "Sharpness": (0.0, 16.0, 1.0),
    "NoiseReductionMode": (0, 4, 0),
    "ScalerCrop": ((0, 0, 128, 128), (0, 0, 4608, 2592), (100, 200, 4000, 2250)),
}
MODES: list[dict[str, Any]] = [
    {"format": "MJPEG"},
    {"size": (1332, 990), "bit_depth": 10},
    {"size": (2028, 1520), "bit_depth": 10},
    {"size": (2028, 1520), "bit_depth": 12},
]


def camera(*without: str, **changes: Any) -> Abilities:
    controls = {name: limits for name, limits in CONTROLS.items() if name not in without}
    values: dict[str, Any] = {"model": "imx708", "controls": controls, "size_px": (4608, 2592)}
    return Abilities(**(values | changes))


def refused(
    wishes: CameraWishes, abilities: Abilities | None = None, options: EncoderOptions = OPTIONS
) -> list[str]:
    with pytest.raises(CameraRefused) as caught:
        controls_for(wishes, options, abilities or camera())
    return caught.value.problems


def options(**changes: Any) -> EncoderOptions:
    values = {
        "width_px": 1280,
        "height_px": 720,
        "frames_per_second": 30,
        "bitrate_bps": 2_000_000,
        "keyframe_interval_s": 10,
    }
    return EncoderOptions(**(values | changes))


def test_who_wishes_nothing_sets_nothing() -> None:
    """But the rate, which is the picture's; a camera that has none for itself is left alone."""
    assert controls_for(CameraWishes(), OPTIONS, camera()) == PICTURE_US
    assert controls_for(CameraWishes(), OPTIONS, camera("FrameDurationLimits")) == {}


@pytest.mark.parametrize(
    ("wish", "controls"),
    [
        ({"exposure_time_us": 5_000}, {"ExposureTime": 5_000}),
        ({"exposure_value": -1.5}, {"ExposureValue": -1.5}),
        ({"metering": "matrix"}, {"AeMeteringMode": 2}),
        ({"flicker": "off"}, {"AeFlickerMode": 0}),
        ({"flicker": "50hz"}, {"AeFlickerMode": 1, "AeFlickerPeriod": 10_000}),
        ({"flicker": "60hz"}, {"AeFlickerMode": 1, "AeFlickerPeriod": 8_333}),
        ({"analogue_gain": 16.0}, {"AnalogueGain": 16.0}),
        ({"white_balance": "cloudy"}, {"AwbMode": 6}),
        ({"red_gain": 1.5, "blue_gain": 2.5}, {"ColourGains": (1.5, 2.5)}),
        ({"autofocus": "continuous"}, {"AfMode": 2}),
        ({"lens_position_dioptres": 0.0}, {"AfMode": 0, "LensPosition": 0.0}),
        ({"focus_range": "full"}, {"AfRange": 2}),
        ({"brightness": -0.25}, {"Brightness": -0.25}),
        ({"contrast": 1.25}, {"Contrast": 1.25}),
        ({"saturation": 0.0}, {"Saturation": 0.0}),
        ({"sharpness": 4.0}, {"Sharpness": 4.0}),
        ({"noise_reduction": "minimal"}, {"NoiseReductionMode": 3}),
        ({"hdr": "off"}, {}),
        ({"hdr": "sensor"}, {}),
    ],
)
def test_each_wish_is_a_control(wish: dict[str, Any], controls: dict[str, Any]) -> None:
    """Or two, where libcamera wants it so; none for what is set before the camera is opened."""
    assert controls_for(CameraWishes(**wish), OPTIONS, camera()) == PICTURE_US | controls


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"exposure_time_us": 5}, "exposure_time_us=5: the imx708 takes 9 to 33333 at 30 frames"),
        ({"exposure_time_us": 33_334}, "takes 9 to 33333 at 30 frames per second"),
        ({"exposure_value": 8.5}, "exposure_value=8.5: the imx708 takes -8 to 8"),
        ({"analogue_gain": 1.0}, "analogue_gain=1: the imx708 takes 1.12 to 16"),
        ({"red_gain": 33.0, "blue_gain": 1.0}, "red_gain=33: the imx708 takes 0 to 32"),
        ({"red_gain": 1.0, "blue_gain": 33.0}, "blue_gain=33: the imx708 takes 0 to 32"),
        ({"lens_position_dioptres": 15.5}, "lens_position_dioptres=15.5: the imx708 takes 0 to 15"),
        ({"brightness": 1.5}, "brightness=1.5: the imx708 takes -1 to 1"),
        ({"contrast": 33.0}, "contrast=33: the imx708 takes 0 to 32"),
        ({"saturation": 33.0}, "saturation=33: the imx708 takes 0 to 32"),
        ({"sharpness": 17.0}, "sharpness=17: the imx708 takes 0 to 16"),
        ({"zoom": 17.6}, "zoom=17.6: the imx708 takes 1 to 17.5"),
        ({"hdr": "night"}, "hdr=night: the imx708 on this Pi takes off, sensor"),
    ],
)
def test_what_is_out_of_range_is_refused(wish: dict[str, Any], sentence: str) -> None:
    """One sentence says what was asked for, and the range of this camera in this mode."""
    (problem,) = refused(CameraWishes(**wish))
    assert sentence in problem


def test_a_choice_that_this_camera_lacks_is_refused() -> None:
    """The sentence has those that it has, in the words of the settings."""
    controls = CONTROLS | {"AwbMode": (0, 2, 0)}
    wishes = CameraWishes(white_balance="cloudy", autofocus="auto")
    assert refused(wishes, camera(controls=controls)) == [
        "white_balance=cloudy: the imx708 takes auto, incandescent, tungsten"
    ]


def test_what_is_missing_is_one_sentence() -> None:
    """All that has no control, then all that has one, by the names under which it was wished."""
    names = {"autofocus": "AF", "zoom": "ZOOM"}
    wishes = CameraWishes(autofocus="auto", zoom=2.0, contrast=33.0, names=names)
    bare = camera(controls={"Contrast": (0.0, 32.0, 1.0), "Brightness": (-1.0, 1.0, 0.0)})
    assert refused(wishes, bare) == [
        "AF=auto, ZOOM=2: the imx708 has no such control; it has brightness, contrast",
        "contrast=33: the imx708 takes 0 to 32",
    ]
    assert refused(wishes, camera(controls={}))[0].endswith("it has none")


def test_a_fixed_focus_without_autofocus_is_possible() -> None:
    """A lens that moves and does not seek has no mode to set."""
    controls = controls_for(CameraWishes(lens_position_dioptres=2.0), OPTIONS, camera("AfMode"))
    assert controls == PICTURE_US | {"LensPosition": 2.0}


@pytest.mark.parametrize(
    ("centre", "crop"),
    [
        ((0.5, 0.5), (100 + 1000, 200 + 562, 2000, 1125)),
        ((0.0, 0.0), (100, 200, 2000, 1125)),
        ((1.0, 1.0), (100 + 2000, 200 + 1125, 2000, 1125)),
        ((0.6, 0.5), (100 + 1400, 200 + 562, 2000, 1125)),
    ],
)
def test_a_zoom_is_a_piece_of_the_picture(
    centre: tuple[float, float], crop: tuple[int, int, int, int]
) -> None:
    """In the shape of the whole picture, around its centre, and never beyond its edges."""
    x, y = centre
    wishes = CameraWishes(zoom=2.0, zoom_centre_x=x, zoom_centre_y=y)
    assert controls_for(wishes, OPTIONS, camera()) == PICTURE_US | {"ScalerCrop": crop}


def test_a_zoom_holds_for_both_pictures_of_a_pi_5() -> None:
    """There each has a crop of its own, which picamera2 sets and which wins over the common one."""
    both = CONTROLS | {"ScalerCrops": ((0, 0, 1, 1), (0, 0, 1, 1), None)}
    controls = controls_for(CameraWishes(zoom=4.0), OPTIONS, camera(controls=both))
    assert controls == PICTURE_US | {"ScalerCrops": [(1600, 1044, 1000, 562)] * 2}


def test_a_camera_that_tells_no_default_is_zoomed_from_all_it_may_show() -> None:
    """Before anything else is known, that is the whole of the sensor."""
    controls = CONTROLS | {"ScalerCrop": ((0, 0, 64, 64), (0, 0, 4608, 2592), (0, 0, 0, 0))}
    crop = controls_for(CameraWishes(zoom=2.0), OPTIONS, camera(controls=controls))["ScalerCrop"]
    assert crop == (1152, 648, 2304, 1296)


@pytest.mark.parametrize(
    ("hdr", "number"), [("off", 0), ("multi-exposure", 2), ("single-exposure", 3), ("night", 4)]
)
def test_the_isp_combines_exposures_where_it_can(hdr: str, number: int) -> None:
    """As that of a Pi 5 does, whatever the sensor."""
    pi_5 = camera(has_isp_hdr=True, model="imx219")
    assert controls_for(CameraWishes(hdr=hdr), OPTIONS, pi_5)["HdrMode"] == number
    (problem,) = refused(CameraWishes(hdr="sensor"), pi_5)
    assert problem.endswith("takes off, multi-exposure, single-exposure, night")


@pytest.mark.parametrize("model", ["imx708", "imx708_wide", "imx708_noir", "imx708_wide_noir"])
def test_all_makes_of_the_sensor_combine_exposures(model: str) -> None:
    """Its name tells the lens and the filter as well."""
    assert controls_for(CameraWishes(hdr="sensor"), OPTIONS, camera(model=model)) == PICTURE_US


def test_a_picture_larger_than_the_sensor_is_refused() -> None:
    """Each side by itself; a camera that does not tell its size is left to libcamera."""
    small = camera(size_px=(1456, 1088), model="imx296")
    assert refused(CameraWishes(), small, options(width_px=1920, height_px=1080)) == [
        "width_px=1920: the imx296 has no more than 1456"
    ]
    unknown = camera(size_px=None)
    assert controls_for(CameraWishes(), options(width_px=1920, height_px=1080), unknown)


@pytest.mark.parametrize(
    ("fastest_us", "is_taken"), [(16_666, True), (16_800, True), (17_849, False), (33_333, False)]
)
def test_a_rate_that_the_sensor_cannot_keep_is_refused(fastest_us: int, is_taken: bool) -> None:
    """One that it all but keeps is not."""
    controls = CONTROLS | {"FrameDurationLimits": (fastest_us, 125_000, 33_333)}
    abilities, wanted = camera(controls=controls), options(frames_per_second=60)
    if is_taken:
        limits = controls_for(CameraWishes(), wanted, abilities)["FrameDurationLimits"]
        assert limits == (16_666, 16_666)
    else:
        (problem,) = refused(CameraWishes(), abilities, wanted)
        fastest = {17_849: 56, 33_333: 30}[fastest_us]
        assert problem.startswith(
            f"frames_per_second=60: the imx708 makes 8 to {fastest} in this mode of the sensor"
        )


def test_a_rate_below_what_the_sensor_can_is_refused() -> None:
    """Long exposures have an end, too."""
    controls = CONTROLS | {"FrameDurationLimits": (17_849, 125_000, 33_333)}
    (problem,) = refused(CameraWishes(), camera(controls=controls), options(frames_per_second=7))
    assert "makes 8 to 56" in problem


@pytest.mark.parametrize(
    ("wishes", "flips"),
    [
        ({}, (False, False)),
        ({"rotation_deg": 180}, (True, True)),
        ({"horizontal_flip": True}, (True, False)),
        ({"rotation_deg": 180, "horizontal_flip": True}, (False, True)),
        ({"rotation_deg": 180, "horizontal_flip": True, "vertical_flip": True}, (False, False)),
    ],
)
def test_half_a_turn_is_both_flips(wishes: dict[str, Any], flips: tuple[bool, bool]) -> None:
    """So that each of the three settings can be undone by the others."""
    assert CameraWishes(**wishes).flips == flips


@pytest.mark.parametrize("wish", ["rotation_deg", "horizontal_flip", "vertical_flip"])
def test_a_sensor_that_cannot_turn_its_picture_is_refused(wish: str) -> None:
    """The configuration shows that it stayed as it was."""
    value: Any = 180 if wish == "rotation_deg" else True
    wishes = CameraWishes(**{wish: value})
    (problem,) = refused(wishes, camera(flips=(False, False)))
    assert problem.startswith(f"{wish}={value}: the imx708 cannot turn or mirror")
    assert controls_for(wishes, OPTIONS, camera(flips=wishes.flips)) == PICTURE_US


def test_a_sensor_that_is_turned_by_itself_is_taken_as_it_is() -> None:
    """Libcamera says so where it cannot make up for how the sensor is mounted."""
    assert controls_for(CameraWishes(), OPTIONS, camera(flips=(True, True))) == PICTURE_US
    turned = CameraWishes(rotation_deg=180)
    assert controls_for(turned, OPTIONS, camera(flips=(True, True))) == PICTURE_US


@pytest.mark.parametrize(
    ("size", "bit_depth", "sensor"),
    [
        ((1332, 990), None, {"output_size": (1332, 990), "bit_depth": 10}),
        ((2028, 1520), None, {"output_size": (2028, 1520), "bit_depth": 12}),
        ((2028, 1520), 10, {"output_size": (2028, 1520), "bit_depth": 10}),
        ((1332, 990), 12, {}),
        ((1331, 990), None, {}),
    ],
)
def test_a_mode_of_the_sensor_is_one_of_its_own(
    size: tuple[int, int], bit_depth: int | None, sensor: dict[str, Any]
) -> None:
    """With its bit depth, the largest where none was asked for; what it has not is refused."""
    width, height = size
    wishes = CameraWishes(
        sensor_width_px=width, sensor_height_px=height, sensor_bit_depth=bit_depth
    )
    assert sensor_for(wishes, MODES) == sensor
    if not sensor:
        (problem,) = refused(wishes, camera(modes=MODES))
        assert problem.startswith(f"sensor_width_px={width}, sensor_height_px=990")
        assert problem.endswith(
            "1332x990 with 10 bits, 2028x1520 with 10 bits, 2028x1520 with 12 bits"
        )


def test_who_wishes_no_mode_gets_libcameras() -> None:
    """Nothing is said about the sensor then, and nothing is wrong about it."""
    assert sensor_for(CameraWishes(), MODES) == {}
    assert controls_for(CameraWishes(), OPTIONS, camera(modes=[])) == PICTURE_US


def test_all_that_is_refused_is_said_at_once() -> None:
    """Nobody has to start five times to learn of five mistakes."""
    wishes = CameraWishes(brightness=2.0, contrast=99.0, hdr="night", zoom=100.0, sharpness=99.0)
    assert len(refused(wishes)) == 5

"""What an operator may set, and what is said about what is wrong."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from camagent.configuration import read_settings, unknown_names
from camagent.errors import SettingsError
from camagent.settings import Settings
from camagent.wiring import link_options

REQUIRED = {"CAMAGENT_DEVICE_ID": "cam", "CAMAGENT_SERVER_URL": "ws://relay.example:8000"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("CAMAGENT_"):
            monkeypatch.delenv(name)


def read(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, env_file: Path | None = None, **names: str
) -> Settings:
    for name, value in (REQUIRED | names).items():
        monkeypatch.setenv(name, value)
    return read_settings(Settings, arguments=arguments, program="camagent", env_file=env_file)


def problems(monkeypatch: pytest.MonkeyPatch, **names: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **names)
    return caught.value.problems


def test_two_names_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Device id and server are required; all else has a default."""
    settings = read(monkeypatch)

    assert settings.device_id == "cam"
    assert settings.max_viewers == 8
    assert settings.heartbeat_interval_s == 30
    assert settings.video.source == "auto"


EXAMPLES = {
    "device_id": "attic-cam",
    "server_url": "wss://other.example/ws/device",
    "device_token": "a-token",
    "server_ca_file": __file__,
    "client_cert_file": __file__,
    "client_key_file": __file__,
    "max_viewers": "3",
    "heartbeat_interval_s": "11.5",
    "presence_interval_s": "12.5",
    "first_retry_delay_s": "2.5",
    "longest_retry_delay_s": "90.5",
    "session_grace_s": "0.0",
    "longest_session_s": "3600.0",
    "ice_transport_policy": "relay",
    "ice_interfaces": "eth*,192.168.0.0/16",
    "ice_excluded_interfaces": "eth1",
    "kill_switch_file": "/etc/camagent/camera-off",
    "in_use_led": "ACT",
    "metrics_port": "9105",
    "metrics_host": "::1",
    "log_level": "debug",
    "log_format": "json",
    "video.source": "container",
    "video.url": "/dev/video0",
    "video.transcode": "True",
    "video.width_px": "640",
    "video.height_px": "360",
    "video.frames_per_second": "15",
    "video.bitrate_bps": "500000",
    "video.start_bitrate_bps": "300000",
    "video.lowest_bitrate_bps": "80000",
    "video.single_rung": "True",
    "video.keyframe_interval_s": "4.5",
    "video.smooth": "True",
    "video.linger_s": "0.0",
    "video.always_on": "True",
    "video.overlay": "True",
    "video.stall_after_s": "5.5",
    "camera.id": "1",
    "camera.sensor_width_px": "2304",
    "camera.sensor_height_px": "1296",
    "camera.sensor_bit_depth": "10",
    "camera.rotation_deg": "180",
    "camera.horizontal_flip": "True",
    "camera.vertical_flip": "True",
    "camera.exposure_time_us": "5000",
    "camera.exposure_value": "-1.5",
    "camera.metering": "spot",
    "camera.flicker": "50hz",
    "camera.analogue_gain": "2.5",
    "camera.red_gain": "1.5",
    "camera.blue_gain": "2.5",
    "camera.autofocus": "manual",
    "camera.lens_position_dioptres": "0.5",
    "camera.focus_range": "macro",
    "camera.brightness": "-0.5",
    "camera.contrast": "1.5",
    "camera.saturation": "0.5",
    "camera.sharpness": "2.5",
    "camera.noise_reduction": "high-quality",
    "camera.hdr": "sensor",
    "camera.zoom": "2.5",
    "camera.zoom_centre_x": "0.25",
    "camera.zoom_centre_y": "0.75",
    "camera.tuning_file": __file__,
}
# What cannot be set beside the others.
ALONE = {"camera.white_balance": "cloudy"}


def plain(settings: Settings) -> dict[str, str]:
    """Write every value as the text that it can be set by."""
    groups = {"video": settings.video, "camera": settings.camera}
    top = {name: getattr(settings, name) for name in Settings.model_fields if name not in groups}
    parts = {f"{name}.{part}": value for name, group in groups.items() for part, value in group}
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in (top | parts).items()
        if name not in ALONE
    }


def environment_name(name: str) -> str:
    return f"CAMAGENT_{name.replace('.', '__').upper()}"


def test_every_setting_has_a_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each can be set by its name in capitals."""
    named = {environment_name(name): value for name, value in EXAMPLES.items()}

    assert plain(read(monkeypatch, **named)) == EXAMPLES


@pytest.mark.parametrize("name", ALONE)
def test_what_excludes_others_can_be_set_too(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """By itself, in either way."""
    group, part = name.split(".")
    by_environment = read(monkeypatch, **{environment_name(name): ALONE[name]})
    monkeypatch.delenv(environment_name(name))
    by_option = read(monkeypatch, f"--{name.replace('_', '-')}={ALONE[name]}")

    assert getattr(getattr(by_environment, group), part) == ALONE[name]
    assert by_option == by_environment


def test_every_setting_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each can be set by its name with hyphens; one that is true or false goes without a value."""
    options = [
        f"--{name.replace('_', '-')}" + ("" if value == "True" else f"={value}")
        for name, value in EXAMPLES.items()
    ]

    assert plain(read(monkeypatch, *options)) == EXAMPLES


def test_every_setting_can_stand_in_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each can be set by a line of the file."""
    for name in REQUIRED:
        monkeypatch.delenv(name, raising=False)
    env_file = tmp_path / "camagent.env"
    env_file.write_text(
        "".join(f"{environment_name(name)}={value}\n" for name, value in EXAMPLES.items())
    )
    settings = read_settings(Settings, arguments=[], program="camagent", env_file=env_file)

    assert plain(settings) == EXAMPLES


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was left empty keeps the default."""
    settings = read(monkeypatch, CAMAGENT_DEVICE_TOKEN="", CAMAGENT_MAX_VIEWERS="")

    assert settings.device_token is None
    assert settings.max_viewers == 8


def test_a_credential_of_systemd_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The token may lie in a file that systemd hands over; an empty one is none."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    credential = tmp_path / "camagent_device_token"
    credential.write_text("from-a-file\n")
    token = read(monkeypatch).device_token
    credential.write_text("")

    assert token == SecretStr("from-a-file")
    assert read(monkeypatch).device_token is None
    assert read(monkeypatch, CAMAGENT_DEVICE_TOKEN="first").device_token == SecretStr("first")


@pytest.mark.parametrize("token", ["two words", "line\nend", "tok\u00e9n"])
def test_a_token_that_no_header_holds_is_refused(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """What was copied with too much around it is told at the start, without showing it."""
    lines = problems(monkeypatch, CAMAGENT_DEVICE_TOKEN=token)

    assert len(lines) == 1
    assert lines[0].startswith("CAMAGENT_DEVICE_TOKEN: ")
    assert token not in lines[0]


def test_an_env_file_in_another_encoding_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that is no UTF-8 is named in one line."""
    env_file = tmp_path / "camagent.env"
    env_file.write_bytes(b"CAMAGENT_DEVICE_ID=caf\xe9\n")

    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, env_file=env_file)
    assert caught.value.problems == [f"{env_file} is not UTF-8 text: invalid continuation byte"]


def test_nested_names_are_split_by_two_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Video settings are set one by one."""
    settings = read(monkeypatch, CAMAGENT_VIDEO__WIDTH_PX="640", CAMAGENT_VIDEO__HEIGHT_PX="360")

    assert (settings.video.width_px, settings.video.height_px) == (640, 360)


def test_options_win_over_environment_over_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The nearest source has the last word."""
    env_file = tmp_path / "camagent.env"
    env_file.write_text(
        "CAMAGENT_MAX_VIEWERS=2\nCAMAGENT_VIDEO__WIDTH_PX=320\nCAMAGENT_PRESENCE_INTERVAL_S=7\n"
    )
    settings = read(
        monkeypatch,
        "--video.width-px",
        "960",
        env_file=env_file,
        CAMAGENT_MAX_VIEWERS="3",
        CAMAGENT_VIDEO__WIDTH_PX="640",
    )

    assert settings.video.width_px == 960
    assert settings.max_viewers == 3
    assert settings.presence_interval_s == 7


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every required setting that is not there gets a line of its own."""
    with pytest.raises(SettingsError) as caught:
        read_settings(Settings, arguments=[], program="camagent", env_file=None)

    assert [line.split(" ")[0] for line in caught.value.problems] == [
        "CAMAGENT_DEVICE_ID",
        "CAMAGENT_SERVER_URL",
    ]
    assert "kitchen-cam-001" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CAMAGENT_DEVICE_ID", "kitchen cam", ["CAMAGENT_DEVICE_ID=kitchen cam", "such as"]),
        ("CAMAGENT_SERVER_URL", "http://a", ["ws:// or wss://"]),
        ("CAMAGENT_SERVER_URL", "ws://", ["host is missing"]),
        ("CAMAGENT_SERVER_URL", "ws://a:99999", ["CAMAGENT_SERVER_URL", "ort"]),
        ("CAMAGENT_MAX_VIEWERS", "0", ["CAMAGENT_MAX_VIEWERS=0", "1 to 256"]),
        ("CAMAGENT_MAX_VIEWERS", "many", ["CAMAGENT_MAX_VIEWERS=many", "1 to 256"]),
        (
            "CAMAGENT_HEARTBEAT_INTERVAL_S",
            "-1",
            ["CAMAGENT_HEARTBEAT_INTERVAL_S=-1", "more than 0"],
        ),
        ("CAMAGENT_HEARTBEAT_INTERVAL_S", "nan", ["CAMAGENT_HEARTBEAT_INTERVAL_S=nan"]),
        ("CAMAGENT_VIDEO__WIDTH_PX", "641", ["CAMAGENT_VIDEO__WIDTH_PX=641", "even"]),
        ("CAMAGENT_VIDEO__SOURCE", "webcam", ["CAMAGENT_VIDEO__SOURCE=webcam", "synthetic"]),
        ("CAMAGENT_VIDEO__SOURCE", "container", ["CAMAGENT_VIDEO", "CAMAGENT_VIDEO__URL"]),
        ("CAMAGENT_VIDEO__FRAMES_PER_SECOND", "999", ["CAMAGENT_VIDEO__FRAMES_PER_SECOND=999"]),
        ("CAMAGENT_VIDEO__BITRATE_BPS", "1", ["CAMAGENT_VIDEO__BITRATE_BPS=1", "100000"]),
        ("CAMAGENT_ICE_TRANSPORT_POLICY", "none", ["CAMAGENT_ICE_TRANSPORT_POLICY=none", "relay"]),
        ("CAMAGENT_ICE_INTERFACES", "10.0.0.0/99", ["CAMAGENT_ICE_INTERFACES=10.0.0.0/99"]),
        ("CAMAGENT_ICE_EXCLUDED_INTERFACES", "eth0,10.0.0.1/8", ["host bits set", "prefixes"]),
        ("CAMAGENT_SERVER_CA_FILE", "/nowhere.pem", ["CAMAGENT_SERVER_CA_FILE=/nowhere.pem"]),
        ("CAMAGENT_SERVER_URL", "ws://a b", ["CAMAGENT_SERVER_URL=ws://a b", "space"]),
        ("CAMAGENT_SERVER_URL", "ws://[::1", ["CAMAGENT_SERVER_URL=ws://[::1", "such as"]),
        ("CAMAGENT_SERVER_CA_FILE", "/", ["CAMAGENT_SERVER_CA_FILE=/", "PEM"]),
        ("CAMAGENT_LONGEST_SESSION_S", "inf", ["CAMAGENT_LONGEST_SESSION_S=inf", "never"]),
        ("CAMAGENT_VIDEO__ALWAYS_ON", "perhaps", ["CAMAGENT_VIDEO__ALWAYS_ON=perhaps", "true"]),
        ("CAMAGENT_VIDEO__WIDHT_PX", "640", ["WIDHT_PX", "perhaps CAMAGENT_VIDEO__WIDTH_PX"]),
        ("CAMAGENT_VIDEO", "640x480", ["CAMAGENT_VIDEO: ", "CAMAGENT_VIDEO__"]),
        ("CAMAGENT_CAMERA__ROTATION_DEG", "90", ["CAMAGENT_CAMERA__ROTATION_DEG=90", "180"]),
        ("CAMAGENT_CAMERA__ROTATION_DEG", "45", ["CAMAGENT_CAMERA__ROTATION_DEG=45", "180"]),
        ("CAMAGENT_CAMERA__EXPOSURE_TIME_US", "0", ["EXPOSURE_TIME_US=0", "microseconds"]),
        ("CAMAGENT_CAMERA__EXPOSURE_VALUE", "9", ["EXPOSURE_VALUE=9", "-8 to 8"]),
        ("CAMAGENT_CAMERA__METERING", "all", ["METERING=all", "centre-weighted, spot or matrix"]),
        ("CAMAGENT_CAMERA__FLICKER", "55hz", ["FLICKER=55hz", "50hz"]),
        ("CAMAGENT_CAMERA__ANALOGUE_GAIN", "nan", ["ANALOGUE_GAIN=nan"]),
        ("CAMAGENT_CAMERA__WHITE_BALANCE", "warm", ["WHITE_BALANCE=warm", "daylight"]),
        ("CAMAGENT_CAMERA__RED_GAIN", "2", ["RED_GAIN", "CAMAGENT_CAMERA__BLUE_GAIN"]),
        ("CAMAGENT_CAMERA__SENSOR_WIDTH_PX", "2", ["CAMAGENT_CAMERA__SENSOR_HEIGHT_PX"]),
        ("CAMAGENT_CAMERA__SENSOR_BIT_DEPTH", "10", ["CAMAGENT_CAMERA__SENSOR_HEIGHT_PX"]),
        ("CAMAGENT_CAMERA__LENS_POSITION_DIOPTRES", "inf", ["DIOPTRES=inf", "metres"]),
        ("CAMAGENT_CAMERA__BRIGHTNESS", "2", ["BRIGHTNESS=2", "-1 to 1"]),
        ("CAMAGENT_CAMERA__ZOOM", "0.5", ["CAMAGENT_CAMERA__ZOOM=0.5", "half of the width"]),
        ("CAMAGENT_CAMERA__ZOOM_CENTRE_X", "1.1", ["ZOOM_CENTRE_X=1.1", "left edge"]),
        ("CAMAGENT_CAMERA__HDR", "on", ["CAMAGENT_CAMERA__HDR=on", "sensor"]),
        ("CAMAGENT_CAMERA__TUNING_FILE", "/nowhere.json", ["TUNING_FILE=/nowhere.json"]),
        ("CAMAGENT_CAMERA__ZOMM", "2", ["ZOMM", "perhaps CAMAGENT_CAMERA__ZOOM is meant"]),
        ("CAMAGENT_LOG_LEVEL", "loud", ["CAMAGENT_LOG_LEVEL=loud", "debug"]),
    ],
)
def test_a_wrong_value_gets_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: list[str]
) -> None:
    """The line says which setting, what was given, and what would be right."""
    lines = problems(monkeypatch, **{name: value})

    assert len(lines) == 1
    assert "\n" not in lines[0]
    for part in told:
        assert part in lines[0]


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to start three times to learn of three mistakes."""
    lines = problems(
        monkeypatch, CAMAGENT_MAX_VIEWERS="0", CAMAGENT_LOG_LEVEL="x", CAMAGENT_DEVICE_ID="?"
    )

    assert len(lines) == 3


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            {"WHITE_BALANCE": "cloudy", "RED_GAIN": "2", "BLUE_GAIN": "2"},
            "CAMAGENT_CAMERA__WHITE_BALANCE and fixed gains exclude each other",
        ),
        (
            {"LENS_POSITION_DIOPTRES": "1", "AUTOFOCUS": "continuous"},
            "CAMAGENT_CAMERA__AUTOFOCUS has to be manual or unset",
        ),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, str], told: str
) -> None:
    """No camera need be asked for that, and nothing is chosen in silence."""
    (line,) = problems(monkeypatch, **{f"CAMAGENT_CAMERA__{name}": names[name] for name in names})

    assert told in line


def test_a_picture_larger_than_the_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Size and rate together have to fit H.264 level 4.0, and the line says what does."""
    lines = problems(monkeypatch, CAMAGENT_VIDEO__WIDTH_PX="3840", CAMAGENT_VIDEO__HEIGHT_PX="2160")

    assert len(lines) == 1
    assert "1920x1080 at 30" in lines[0]


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("ws://a:8000", "ws://a:8000/ws/device"),
        ("wss://a/", "wss://a/ws/device"),
        ("wss://a/cameras/socket", "wss://a/cameras/socket"),
    ],
)
def test_the_servers_base_is_enough(monkeypatch: pytest.MonkeyPatch, given: str, used: str) -> None:
    """The protocol's path is added, unless there is one."""
    assert read(monkeypatch, CAMAGENT_SERVER_URL=given).server_url == used


def test_secrets_are_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a line about something else nor the settings' own text shows a token."""
    names: dict[str, Any] = {
        "CAMAGENT_DEVICE_TOKEN": "top-secret",
        "CAMAGENT_VIDEO__URL": "rtsp://me:top-secret@camera/",
    }
    assert "top-secret" not in repr(read(monkeypatch, **names))
    lines = problems(monkeypatch, **names, CAMAGENT_MAX_VIEWERS="0")
    assert "top-secret" not in " ".join(lines)
    for url in ("ws://me:top-secret@a", "http://me:a/top-secret@b", "http://a/?key=top-secret"):
        assert "top-secret" not in " ".join(problems(monkeypatch, CAMAGENT_SERVER_URL=url))


def test_a_slip_of_the_pen_is_seen() -> None:
    """A name that no setting has is told with the one that was perhaps meant."""
    found = unknown_names(
        Settings, environment={"CAMAGENT_DEVICE_IT": "x", "HOME": "/"}, env_file=None
    )

    assert found == [("CAMAGENT_DEVICE_IT", "CAMAGENT_DEVICE_ID")]


def test_a_slip_in_the_env_file_is_seen(tmp_path: Path) -> None:
    """The file's names are looked at like the environment's; what resembles nothing is alone."""
    env_file = tmp_path / "camagent.env"
    env_file.write_text("CAMAGENT_MAX_VIEWER=3\nCAMAGENT_MAX_VIEWERS=3\nCAMAGENT_QQQQQQ=1\n")

    assert unknown_names(Settings, environment={}, env_file=env_file) == [
        ("CAMAGENT_MAX_VIEWER", "CAMAGENT_MAX_VIEWERS"),
        ("CAMAGENT_QQQQQQ", None),
    ]


@pytest.mark.parametrize("size", [("1920", "1080", "30"), ("1280", "720", "60")])
def test_the_largest_pictures_are_taken(
    monkeypatch: pytest.MonkeyPatch, size: tuple[str, str, str]
) -> None:
    """What the refusal recommends is accepted."""
    names = ("WIDTH_PX", "HEIGHT_PX", "FRAMES_PER_SECOND")
    named = {f"CAMAGENT_VIDEO__{name}": value for name, value in zip(names, size, strict=True)}

    assert read(monkeypatch, **named).video.width_px == int(size[0])


def test_a_key_without_a_certificate_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Half of a client certificate helps nobody."""
    key = tmp_path / "key.pem"
    key.write_text("x")

    assert (
        "CAMAGENT_CLIENT_CERT_FILE" in problems(monkeypatch, CAMAGENT_CLIENT_KEY_FILE=str(key))[0]
    )


@pytest.mark.parametrize("name", ["CAMAGENT_SERVER_CA_FILE", "CAMAGENT_CLIENT_CERT_FILE"])
def test_a_file_without_a_certificate_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """What is no PEM is told before the first connection, by the setting's name."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("hello")
    settings = read(monkeypatch, CAMAGENT_SERVER_URL="wss://a", **{name: str(wrong)})

    with pytest.raises(SettingsError, match=f"{name}={wrong}"):
        link_options(settings)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://eve:top/secret@camera.lan/live",
        "rtsp://eve:12/secret@camera.lan/live",
        "rtsp://eve:top#secret@camera.lan/live",
        "rtsp://eve:12?secret@camera.lan/live",
        "rtsp://eve:top[secret@camera.lan/live",
        "rtsp://eve:top[sec]ret@camera.lan/live",
        "rtsp://eve:top@12/secret@camera.lan/live",
        "rtsp://eve:secret\u2100@camera.lan/live",
        "rtsp:eve:secret@camera.lan/live",
        "rtsp://camera.lan:secret/live",
    ],
)
def test_a_password_that_hides_the_host_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """In one line that says how it is written, and does not repeat it."""
    (line,) = problems(monkeypatch, CAMAGENT_VIDEO__URL=url)
    assert line.startswith("CAMAGENT_VIDEO__URL: where the host begins and ends is not clear; ")
    assert "/ is written %2F" in line
    assert not [part for part in ("top", "secret", "sec", "12") if part in line]


@pytest.mark.parametrize("url", ["rtsp:///live", "http://?a=b"])
def test_a_camera_without_a_host_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """It would be tried for ever."""
    (line,) = problems(monkeypatch, CAMAGENT_VIDEO__URL=url)
    assert line.startswith("CAMAGENT_VIDEO__URL: the host is missing (for source=container: ")


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://eve:%2F%3F%23%5B%5D%40@[::1]:554/live?channel=1#x",
        "rtsp://eve:top@secret@camera.lan/live",
        "rtsp://camera.lan/user=admin&password=secret&channel=1",
        "udp://@:5000",
        "udp://@239.0.0.1:5000",
        "file:///clips/a@b.mp4",
        "/clips/[a@b.mp4",
        "//clips/[a://b.mp4",
        "clip.mp4",
    ],
)
def test_any_other_camera_may_be_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """URLs that can be read in one way only, and paths, which are no URLs."""
    video = read(monkeypatch, CAMAGENT_VIDEO__URL=url).video
    assert video.url is not None
    assert video.url.get_secret_value() == url

"""What camagent relies on in picamera2, claimed once: of the real one, and of the fake.

Subclassed by tests/media/test_fake_picamera2.py and tests/rig/test_real_picamera2.py.
"""

from typing import Any, Protocol

import pytest

from tests.support import undisturbed

FRAME_US = 33_333
BUFFERS = 6


class World(Protocol):
    """Somewhere with a picamera2."""

    def run(self, behaviour: str, *, encoder_fault: str = "") -> Any:
        """Run a function of picamera2_behaviours.py; give what it returned."""


class Picamera2Contract:
    """The claims; a subclass's module has the fixture `world`."""

    def test_a_camera_that_is_absent_is_refused(self, world: World) -> None:
        """Its number is in the error, which has no cause."""
        kind, text, cause = world.run("absent")
        assert (kind, cause) == ("RuntimeError", "NoneType")
        assert text.startswith("No camera number 3 found - use ")

    def test_a_camera_in_use_is_refused(self, world: World) -> None:
        """The error says little, its cause more; the first user goes on, and may close twice."""
        seen = world.run("busy")
        text = "Camera __init__ sequence did not complete."
        assert seen["refused"] == ["RuntimeError", text, "RuntimeError"]
        assert seen["goes_on"]

    def test_the_camera_describes_itself(self, world: World) -> None:
        """Model, size, modes, and the range of each control."""
        seen = world.run("listing")
        assert seen["info"] == [
            {
                "Model": "imx708",
                "Location": 1,
                "Rotation": 180,
                "Id": "/base/soc/i2c0mux/i2c@1/imx708@1a",
                "Num": 0,
            }
        ]
        full = [4608, 2592]
        assert seen["properties"] == full
        assert seen["modes"] == [[1536, 864], [2304, 1296], full]
        assert seen["controls"]["ScalerCrop"] == [[0, 0, 64, 64], [0, 0, *full], [0, 0, *full]]
        assert seen["controls"]["LensPosition"] == [0.0, 15.0, 1.0]
        assert seen["controls"]["FrameDurationLimits"] == [8_333, 1_000_000, FRAME_US]
        assert len(seen["controls"]) == 32

    def test_sizes_and_strides_are_adjusted(self, world: World) -> None:
        """Odd sizes become even, and rows are padded to 64 bytes."""
        streams = world.run("configuration")["streams"]
        main, lores = streams["main"], streams["lores"]
        assert (main["size"], main["stride"], main["framesize"]) == ([1280, 720], 1280, 1_382_400)
        assert (lores["size"], lores["stride"], lores["framesize"]) == ([650, 360], 704, 380_160)

    def test_a_configuration_that_cannot_be_is_refused(self, world: World) -> None:
        """Each mistake has its sentence."""
        seen = world.run("configuration")
        assert seen["bad_key"][0] == "ValueError"
        texts = {name: seen[name][:2] for name in seen if name not in {"streams", "bad_key"}}
        assert texts == {
            "too_large": ["RuntimeError", "lores stream dimensions may not exceed main stream"],
            "not_configured": ["RuntimeError", "Camera has not been configured"],
            "no_stream": ["RuntimeError", "Encode stream lores was not defined"],
            "while_started": ["RuntimeError", "Camera must be stopped before configuring"],
        }

    def test_controls_take_effect_a_queue_later(self, world: World) -> None:
        """An unknown name is refused, a value out of range is not."""
        seen = world.run("controls")
        text = "Control Zoom is not advertised by libcamera"
        assert seen["unknown"] == ["RuntimeError", text, "NoneType"]
        assert seen["out_of_range"] == []
        assert 2 <= seen["pictures_late"] <= BUFFERS + 2
        assert seen["duration_us"] == 100_000

    def test_a_stall_is_silent(self, world: World) -> None:
        """No picture comes; the first question is answered with old news, the next times out."""
        seen = world.run("stall")
        assert seen["pictures"] == 0
        assert seen["stale_age_s"] > 0.8
        assert seen["timed_out"] == "TimeoutError"
        # The question that timed out is still in the queue, before the stop.
        assert seen["stop_hangs"]
        assert not seen["close_hangs_after_flush"]
        assert seen["reopened"]

    def test_pictures_with_an_error_are_dropped(self, world: World) -> None:
        """Nobody is told, and nothing breaks."""

        def is_smooth(seen: Any) -> bool:
            return bool(seen == {"during": 0})

        assert is_smooth(undisturbed(lambda: world.run("error_frames"), is_smooth))

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (
                "enc-absent",
                ["FileNotFoundError", "[Errno 2] No such file or directory: '/dev/video11'"],
            ),
            ("enc-busy", ["OSError", "[Errno 16] Device or resource busy"]),
        ],
    )
    def test_an_encoder_that_did_not_start_is_spoilt(
        self, world: World, fault: str, error: list[str]
    ) -> None:
        """It believes that it runs; a new one works."""
        seen = world.run("encoder_refused", encoder_fault=fault)
        assert seen["refused"][:2] == error
        assert seen["is_running"]
        assert seen["again"][:2] == ["RuntimeError", "Encoder already running"]

    def test_an_encoder_that_hangs_starves_the_camera(self, world: World) -> None:
        """Every buffer is with the encoder; once it is stopped, the camera runs on."""

        def is_smooth(seen: Any) -> bool:
            return bool(seen["pictures"] == BUFFERS and seen["stopped_s"] < 1)

        seen = undisturbed(lambda: world.run("encoder_hangs", encoder_fault="enc-hang"), is_smooth)
        assert is_smooth(seen)
        assert seen["frames"] == 0
        assert seen["is_stale"]

    def test_an_exception_in_outputframe_starves_the_camera(self, world: World) -> None:
        """It ends the encoder's thread, which gives no buffer back from then on."""
        seen = world.run("outputframe_raises")
        assert seen["frames"] == 10
        assert BUFFERS - 1 <= seen["more_pictures"] <= BUFFERS + 1
        assert seen["still_more"] == 0

    @pytest.mark.parametrize("callback", ["pre_callback", "post_callback"])
    def test_an_exception_in_a_callback_ends_the_camera(self, world: World, callback: str) -> None:
        """stop() then waits for a thread that is gone; close() does not."""
        seen = world.run(f"{callback}_raises")
        assert seen == {"calls": 1, "stop_hangs": True, "close_hangs": False}

    def test_callbacks_come_on_threads_of_the_cameras(self, world: World) -> None:
        """One for both callbacks, another for the encoder's frames."""
        seen = world.run("threads")
        assert seen == {"camera_threads": 1, "is_callers": False, "is_encoder_its_own": True}

    def test_two_encoders_share_a_clock(self, world: World) -> None:
        """Each counts from its own first picture, and tells when that was."""
        seen = world.run("two_encoders")
        assert seen["first"] == [0, 0]
        assert seen["later_us"] >= 10 * FRAME_US - 100
        assert seen["is_one_clock"]
        assert seen["sizes"] == [[1280, 720], [640, 360]]

    def test_stopping_one_encoder_holds_up_the_other(self, world: World) -> None:
        """Starting one does not; stopping one may block the camera's thread for 0.4 s."""

        def is_smooth(seen: Any) -> bool:
            return max(seen["gaps_before_stop_us"]) <= FRAME_US + 1 and max(seen["gaps_us"]) < 6e5

        assert is_smooth(undisturbed(lambda: world.run("two_encoders"), is_smooth))

    def test_requests_for_keyframes_are_counted(self, world: World) -> None:
        """Three requests give three in a row: Constrained Baseline, each with SPS and PPS."""
        seen = world.run("forced_keyframes")
        first, *forced = seen["keyframes"]
        assert first == 0
        assert forced == [forced[0], forced[0] + 1, forced[0] + 2]
        assert seen["late"] <= 5
        assert seen["nal_types"] == [7, 8, 5]
        profile_idc, constraints = seen["profile"]
        assert (profile_idc, constraints & 0b0100_0000) == (66, 0b0100_0000)
        assert seen["pictures"] == seen["frames"]

    def test_the_bitrate_changes_by_ioctl(self, world: World) -> None:
        """The driver obeys while the encoder runs; afterwards its file is closed."""
        rates_bps = pytest.approx([2_000_000, 500_000], rel=0.2)

        def is_smooth(seen: Any) -> bool:
            return bool([seen["before_bps"], seen["after_bps"]] == rates_bps)

        seen = undisturbed(lambda: world.run("bitrate"), is_smooth)
        assert is_smooth(seen)
        # Each attempt has its two lines.
        assert seen["log"][-2:] == ["ctrl 0x9909cf = 2000000", "ctrl 0x9909cf = 500000"]
        assert seen["after_stop"] == ["ValueError"]

    def test_requests_that_are_kept_starve_the_camera(self, world: World) -> None:
        """It goes on when they are released; references are counted."""
        seen = world.run("starvation")
        assert (seen["starved"], seen["more"]) == (["TimeoutError"], 0)
        assert seen["goes_on"]
        assert seen["is_still_held"]
        assert "negative ref_count" in seen["released_twice"][1]
        assert "ref_count 0" in seen["acquired_late"][1]

    def test_a_snapshot_leaves_no_gap(self, world: World) -> None:
        """A JPEG of now, made while an encoder runs."""

        def is_smooth(seen: Any) -> bool:
            return max(seen["gaps_us"]) <= FRAME_US + 1

        seen = undisturbed(lambda: world.run("snapshot"), is_smooth)
        assert is_smooth(seen)
        assert (seen["start"], seen["size"]) == ("ffd8", [1280, 720])
        assert seen["is_fresh"]

    def test_pictures_carry_their_time(self, world: World) -> None:
        """The time in the picture is the metadata's, in both streams."""
        assert world.run("pictures") == {"wrong_by_ns": [0] * 6, "size": 0}

    def test_closing_the_camera_leaves_encoders_running(self, world: World) -> None:
        """They have to be stopped, and can be afterwards."""
        seen = world.run("close_leaves_encoders")
        assert seen == {"is_running": True, "stop_hangs": False}

    def test_a_camera_that_is_refused_leaves_its_pipe_open(self, world: World) -> None:
        """Closing it closes neither end; that of a camera which was open closes both."""
        assert world.run("refused_files") == {
            "after_refusal": [True, True],
            "before_closing": [True, True],
            "after_closing": [False, False],
        }

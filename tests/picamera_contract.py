"""What the Pi camera promises, on a Pi 4 (vc4) and on a Pi 5 (pisp), whatever picamera2 is under it."""

import statistics
from typing import Any, Protocol

import pytest

from tests.support import undisturbed

PLATFORMS = ["vc4", "pisp"]
FRAME_US = 33_334
BITRATE_CONTROL = 0x9909CF  # V4L2_CID_MPEG_VIDEO_BITRATE


class World(Protocol):
    """A picamera2 and a camera for it."""

    def run(self, scenario: str, *, platform: str = "vc4", encoder_fault: str = "") -> Any:
        """Run a function of `rig/scenarios.py`; give what it returned."""

    def encoder_controls(self) -> str:
        """Give what was set on the chip's encoder, one line each."""


class PiCameraContract:
    """The claims; a subclass is asked for the `world` that it tries them in."""

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_the_camera_streams(self, world: World, platform: str) -> None:
        """Every frame decodes, carries its sensor's time, and obeys within a few frames."""
        rates_bps = pytest.approx([2_000_000, 500_000], rel=0.2)

        def is_smooth(seen: Any) -> bool:
            # Where pictures are left out for want of processor, there are fewer bits.
            return bool(seen["bits_per_second"] == rates_bps)

        seen = undisturbed(lambda: world.run("stream", platform=platform), is_smooth)
        assert is_smooth(seen)
        assert seen["name"] == "picamera imx708"
        assert seen["encoder"] == ("the chip" if platform == "vc4" else "libx264")
        assert seen["pictures"] == seen["frames"]
        assert seen["wrong_times"] == 0
        assert min(seen["gaps_us"]) > 0
        assert statistics.median(seen["gaps_us"]) == pytest.approx(33_333, abs=50)
        assert seen["median_delay_ms"] < 100

        assert seen["is_first_a_keyframe"]
        assert seen["keyframes_before"] == []
        assert len(seen["keyframes_forced"]) == 1
        assert seen["keyframes_forced"][0] <= 5
        assert seen["nal_types_of_keyframes"] == [7, 8, 5]
        profile_idc, constraints, _level = seen["sps"]
        assert (profile_idc, constraints & 0b0100_0000) == (66, 0b0100_0000)

        if platform == "vc4":
            # The driver is told, at the start and while it runs.
            controls = world.encoder_controls()
            first = controls.index(f"ctrl {BITRATE_CONTROL:#x} = 2000000\n")
            assert controls.index(f"ctrl {BITRATE_CONTROL:#x} = 500000\n") > first

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_opening_again_leaves_nothing_behind(self, world: World, platform: str) -> None:
        """Threads and open files are as many after four openings as after one."""
        left = world.run("reopen", platform=platform)["threads_and_files"]
        assert left[1:] == [left[1]] * 3

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_the_rate_is_the_sensors(self, world: World, platform: str) -> None:
        """Ten pictures per second are made, not thinned out."""
        gaps_us = world.run("slow", platform=platform)["gaps_us"]
        assert statistics.median(gaps_us) == pytest.approx(100_000, abs=100)

    @pytest.mark.parametrize("fault", ["enc-absent", "enc-busy"])
    def test_without_the_chips_encoder_libx264_encodes(self, world: World, fault: str) -> None:
        """A Pi whose encoder is missing or taken streams all the same."""
        seen = world.run("brief", encoder_fault=fault)
        assert seen["encoder"] == "libx264"
        assert (seen["pictures"], seen["wrong_times"]) == (seen["frames"], 0)

    def test_refusals_say_what_to_do(self, world: World) -> None:
        """No such camera and a camera in use are told apart, in sentences."""
        seen = world.run("refused")
        assert seen["problem"] is None
        assert (
            seen["absent"] == "CameraError: there is no Pi camera 3: libcamera finds 0 "
            "(/base/soc/i2c0mux/i2c@1/imx708@1a)"
        )
        assert seen["busy"].startswith("CameraError: the Pi camera cannot be opened: ")
        assert " open" in seen["busy"].rpartition("; ")[2]

    def test_what_is_wished_reaches_the_camera(self, world: World) -> None:
        """Its own metadata and configuration say so, and that they would be otherwise by themselves."""
        itself, seen = world.run("unadjusted"), world.run("adjusted")
        assert seen["metadata"] == {
            "ExposureTime": 5_000,
            "AnalogueGain": 4.0,
            "LensPosition": 5.0,
            "ScalerCrop": [0, 1296, 2304, 1296],
            "FrameDuration": 33_333,
        }
        assert seen["flips"] == [1, 0]
        assert seen["sensor"] == [2304, 1296]
        assert itself["metadata"] == {
            "ExposureTime": 10_000,
            "AnalogueGain": 2.0,
            "LensPosition": 1.0,
            "ScalerCrop": [0, 0, 4608, 2592],
            "FrameDuration": 33_333,
        }
        assert itself["flips"] == [0, 0]
        assert itself["sensor"] == [1536, 864]

    def test_the_lens_is_told_to_look_for_its_place(self, world: World) -> None:
        """In this mode it would stay where it is; 2 says that it found it."""
        assert world.run("focused") == {"state": 2}

    def test_what_the_camera_cannot_do_is_refused(self, world: World) -> None:
        """A sentence for each, with what would be right; the camera can be opened afterwards."""
        modes = ", ".join(f"{size} with 10 bits" for size in ("1536x864", "2304x1296", "4608x2592"))
        assert world.run("too_much")["refused"] == [
            f"sensor_width_px=1920, sensor_height_px=1080: the imx708 has the modes {modes}",
            "exposure_time_us=40000: the imx708 takes 1 to 33333 at 30 frames per second",
            "analogue_gain=17: the imx708 takes 1 to 16",
            "lens_position_dioptres=16: the imx708 takes 0 to 15",
            "contrast=33: the imx708 takes 0 to 32",
            "ZOOM=50: the imx708 takes 1 to 40.5",
        ]

    def test_another_process_looks_at_the_camera(self, world: World) -> None:
        """It tells what cannot be, and leaves the camera to whoever comes next."""
        seen = world.run("looked_at")
        assert seen["fine"] == []
        assert seen["too_much"] == [
            "contrast=33: the imx708 takes 0 to 32",
            "zoom=50: the imx708 takes 1 to 40.5",
        ]
        assert seen["absent"][0].startswith("there is no Pi camera 3: libcamera finds 0 (")
        assert seen["not_opened"] == []

    def test_choices_have_libcameras_numbers(self, world: World) -> None:
        """Each of our words is libcamera's word for that number."""
        seen = world.run("numbers")
        assert len(seen) == 7
        for choices in seen.values():
            for ours, _number, theirs in choices:
                assert ours.replace("-", "") == theirs.lower()

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_a_sensor_that_stops_is_survived(self, world: World, platform: str) -> None:
        """The capture closes the stalled camera, opens it anew, and goes on with a keyframe."""

        def is_smooth(seen: Any) -> bool:
            return bool(seen["restarts"] == 1)

        seen = undisturbed(lambda: world.run("stall", platform=platform), is_smooth)
        assert is_smooth(seen)
        assert seen["states"] == ["starting", "live", "starting", "live", "lingering", "idle"]
        assert seen["is_first_after_it_a_keyframe"]
        assert min(seen["gaps_us"]) > 0
        assert (seen["pictures"], seen["wrong_times"]) == (seen["frames"], 0)

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_a_sensor_that_stays_dead_ends_the_process(self, world: World, platform: str) -> None:
        """Opened anew it gives no picture either; what is left is a new process."""
        problem = world.run("dead_sensor", platform=platform)["problem"]
        assert "stalled and cannot be reopened" in problem
        assert "gave no picture" in problem

    def test_an_encoder_that_stays_dead_ends_the_process(self, world: World) -> None:
        """It holds every picture of the camera, which gives none either when opened anew."""
        problem = world.run("dead_encoder")["problem"]
        assert "stalled and cannot be reopened" in problem
        assert "gave no picture" in problem

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_a_camera_that_does_not_close_ends_the_process(
        self, world: World, platform: str
    ) -> None:
        """Its driver has the thread for good, and nothing waits for it longer than it has to."""
        seen = world.run("hanging_close", platform=platform)
        assert seen["problem"] == "closing picamera imx708 takes more than 3 s"

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_a_frame_that_cannot_be_used_leaves_the_camera_whole(
        self, world: World, platform: str
    ) -> None:
        """What is raised at a frame ends none of picamera2's threads: it closes, tells, and opens again."""
        seen = world.run("unusable_frame", platform=platform)
        assert "nobody can use it" in seen["problem"]
        assert seen["frames_afterwards"] >= 10
        assert seen["has_still"]
        assert seen["threads_left"] <= 1  # libcamera's, which stays

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_an_overlay_is_drawn_where_libx264_encodes(self, world: World, platform: str) -> None:
        """On a Pi 5 both rungs and snapshots show it; on a Pi 4 the log says once that none does."""
        seen = world.run("overlay", platform=platform)
        is_drawn = platform == "pisp"
        assert seen["warnings"] == ([] if is_drawn else ["the chip"])
        assert (seen["pictures"], seen["wrong_times"]) == (seen["frames"], 0)
        for shown in ("main", "low", "still"):
            _, median, brightest = seen[shown]
            assert (median < 60 and brightest > 150) is is_drawn, shown

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_two_rungs_have_one_clock(self, world: World, platform: str) -> None:
        """The low rung comes and goes without a gap in the main one; each of its times is a main one's."""

        def is_smooth(seen: Any) -> bool:
            gaps = [seen["gaps_us"], *(low["gaps_us"] for low in seen["low"])]
            return max(map(max, gaps)) < 2 * FRAME_US

        seen = undisturbed(lambda: world.run("two_rungs", platform=platform), is_smooth)
        assert is_smooth(seen)
        assert seen["still"] == [1280, 720]
        assert (seen["pictures"], seen["wrong_times"]) == (seen["frames"], 0)
        for low in seen["low"]:
            assert low["size"] == [640, 360]
            assert low["strangers"] == 0
            assert low["keyframes"][0] == 0
            assert len(low["keyframes"]) == 2
            assert low["pictures"] == low["frames"]

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_both_rungs_follow_their_rates(self, world: World, platform: str) -> None:
        """While they run, each by itself, without a keyframe, and the low one's frame rate as well."""
        asked_bps = 500_000, 100_000

        def is_smooth(seen: Any) -> bool:
            # Where pictures are left out for want of processor, there are fewer bits to begin with.
            return all(
                before > 1.2 * asked
                for before, asked in zip(seen["before"], asked_bps, strict=True)
            )

        seen = undisturbed(lambda: world.run("rungs_follow", platform=platform), is_smooth)
        assert is_smooth(seen)
        assert seen["encoders"] == ["the chip" if platform == "vc4" else "libx264"] * 2
        # A picture that takes fewer bits than it may has its own way above, not below.
        for after, asked in zip(seen["after"], asked_bps, strict=True):
            assert after <= 1.2 * asked
        assert statistics.median(seen["fewer_gaps_us"]) == pytest.approx(2 * FRAME_US, abs=100)
        assert seen["fewer"] <= 1.2 * 100_000
        assert seen["keyframes"] == 0

    def test_a_camera_in_use_costs_nothing_to_try(self, world: World) -> None:
        """As many files are open after four attempts as before: one goes on trying for days."""
        left = world.run("refused_often")["files"]
        assert left == [left[0]] * 5

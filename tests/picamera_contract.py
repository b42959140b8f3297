"""What the Pi camera promises, on a Pi 4 (vc4) and on a Pi 5 (pisp), whatever picamera2 is under it."""

import statistics
from typing import Any, Protocol

import pytest

PLATFORMS = ["vc4", "pisp"]
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
        seen = world.run("stream", platform=platform)

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

        assert seen["bits_per_second"] == pytest.approx([2_000_000, 500_000], rel=0.2)

    def test_the_bitrate_reaches_the_chip(self, world: World) -> None:
        """The driver is told, at the start and while it runs."""
        world.run("stream")
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
        seen = world.run("stream", encoder_fault=fault)
        assert seen["encoder"] == "libx264"
        assert (seen["pictures"], seen["wrong_times"]) == (seen["frames"], 0)

    def test_refusals_say_what_to_do(self, world: World) -> None:
        """No such camera and a camera in use are told apart, in sentences."""
        seen = world.run("refused")
        assert seen["problem"] is None
        assert (
            seen["absent"]
            == "CameraError: there is no Pi camera 3: libcamera finds 1, counted from 0"
        )
        assert seen["busy"].startswith("CameraError: the Pi camera cannot be opened: ")
        assert " open" in seen["busy"].rpartition("; ")[2]

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_a_sensor_that_stops_is_survived(self, world: World, platform: str) -> None:
        """The capture closes the stalled camera, opens it anew, and goes on with a keyframe."""
        seen = world.run("stall", platform=platform)
        assert seen["restarts"] == 1
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
        seen = world.run("two_rungs", platform=platform)
        assert seen["still"] == [1280, 720]
        assert max(seen["gaps_us"]) < 2 * 33_334
        assert (seen["pictures"], seen["wrong_times"]) == (seen["frames"], 0)
        for low in seen["low"]:
            assert low["size"] == [640, 360]
            assert low["strangers"] <= 2  # which the main rung's encoder had not finished yet
            assert max(low["gaps_us"]) < 2 * 33_334
            assert low["keyframes"][0] == 0
            assert len(low["keyframes"]) == 2
            assert low["pictures"] == low["frames"]

"""The Pi camera at 720p30, with the real picamera2: delay, obedience, two rungs, recovery, leaks.

Needs the Raspberry Pi rig that PI_RIG names. Its sensor, ISP and encoder in the chip are software:
the way of a picture is that of a Pi, and what is measured is this machine's processor.
"""

import os
import statistics
import tempfile
from pathlib import Path

from tests.bench.report import Figure, report
from tests.rig.rig import Rig

_PATHS = {"pisp": "libx264", "vc4": "chip's stand-in"}
_REACH_DELAY_MS = {"pisp": 10.0, "vc4": 15.0}
_REACH_KEYFRAME_MS = 60.0
_REACH_BITRATE_ERROR = 0.15
_REACH_RECOVERY_S = 8.0
_REACH_GROWTH_MB = 10.0
_FRAME_US = 33_333
_CYCLES_DEADLINE_S = 900.0


def _delay(rig: Rig, platform: str) -> list[Figure]:
    seen = rig.run("delay", platform=platform, script="figures.py")
    delay_ms, path = statistics.median(seen["frames_ms"]), _PATHS[platform]
    reach_ms = _REACH_DELAY_MS[platform]
    return [
        Figure(
            f"{path}: sensor to encoded frame, median",
            f"< {reach_ms:g}",
            round(delay_ms, 1),
            "ms",
            delay_ms < reach_ms,
        ),
        _told(f"{path}: of that until picamera2 has it", statistics.median(seen["pictures_ms"])),
        _told(
            f"{path}: 95 of 100 frames within", statistics.quantiles(seen["frames_ms"], n=20)[-1]
        ),
    ]


def _keyframes(rig: Rig, platform: str) -> list[Figure]:
    took_ms = rig.run("keyframes", platform=platform, script="figures.py")["took_ms"]
    return [
        Figure(
            f"{_PATHS[platform]}: request to keyframe, longest of {len(took_ms)}",
            f"< {_REACH_KEYFRAME_MS:g}",
            round(max(took_ms), 1),
            "ms",
            max(took_ms) < _REACH_KEYFRAME_MS,
        ),
        _told(f"{_PATHS[platform]}: request to keyframe, median", statistics.median(took_ms)),
    ]


def _bitrate(rig: Rig, platform: str) -> list[Figure]:
    seen = rig.run("bitrate", platform=platform, script="figures.py")
    errors = [
        abs(rate - target) / target
        for rate, target in zip(seen["rates"], seen["targets"], strict=True)
    ]
    return [
        Figure(
            f"{_PATHS[platform]}: bitrate after 1 s, worst of {len(errors)} targets, off by",
            f"<= {100 * _REACH_BITRATE_ERROR:g}",
            round(100 * max(errors), 1),
            "%",
            max(errors) <= _REACH_BITRATE_ERROR,
        )
    ]


def _two_rungs(rig: Rig, platform: str) -> list[Figure]:
    seen = rig.run("two_rungs", platform=platform, script="figures.py")
    slowest = min(rung["rate"] for rung in seen.values())
    gap_us = max(rung["largest_gap_us"] for rung in seen.values())
    path = _PATHS[platform]
    return [
        Figure(
            f"{path}: both rungs, rate of the slower",
            ">= 29.9",
            round(slowest, 2),
            "/s",
            slowest >= 29.9,
        ),
        Figure(
            f"{path}: both rungs, largest gap between frames",
            "< 2",
            round(gap_us / _FRAME_US, 2),
            "pictures",
            gap_us < 2 * _FRAME_US,
        ),
        *(
            _told(
                f"{path}: both rungs, delay of {name}, median", statistics.median(rung["delays_ms"])
            )
            for name, rung in seen.items()
        ),
    ]


def _recovery(rig: Rig, platform: str) -> list[Figure]:
    took_s = rig.run("recovery", platform=platform, script="figures.py")["took_s"]
    return [
        Figure(
            f"{_PATHS[platform]}: stall to moving picture, longest of {len(took_s)}",
            f"< {_REACH_RECOVERY_S:g}",
            round(max(took_s), 2),
            "s",
            max(took_s) < _REACH_RECOVERY_S,
        )
    ]


def _cycles(rig: Rig, platform: str) -> list[Figure]:
    seen = rig.run("cycles", platform=platform, script="figures.py", deadline_s=_CYCLES_DEADLINE_S)
    growth = [last - settled for settled, last in zip(seen["settled"], seen["last"], strict=True)]
    what = f"{_PATHS[platform]}: 200 openings leave"
    return [
        Figure(f"{what}, threads", "<= 0", growth[0], "", growth[0] <= 0),
        Figure(f"{what}, open files", "<= 0", growth[1], "", growth[1] <= 0),
        Figure(
            f"{what}, resident",
            f"< {_REACH_GROWTH_MB:g}",
            round(growth[2], 1),
            "MB",
            growth[2] < _REACH_GROWTH_MB,
        ),
    ]


def _told(what: str, measured_ms: float) -> Figure:
    return Figure(what, "(none set)", round(measured_ms, 1), "ms", met=True)


def main() -> None:
    script = os.environ.get("PI_RIG")
    if script is None:
        print(
            "camera: skipped, for PI_RIG is not set: it has to name the Raspberry Pi rig's script"
        )
        return
    load = os.getloadavg()[0]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig.prepared(script, Path(folder))
        for measure in (_delay, _keyframes, _bitrate, _two_rungs, _recovery, _cycles):
            for platform in _PATHS:
                figures += measure(rig, platform)
    print(f"load of this machine before: {load:.1f}; what else runs shows in every delay")
    report("camera", figures, packages=("av",))


if __name__ == "__main__":
    main()

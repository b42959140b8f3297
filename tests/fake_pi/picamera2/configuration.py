"""What a configuration looks like before and after libcamera has had its say."""

import copy
from typing import Any

import libcamera

_STREAM_KEYS = ("format", "size", "stride", "preserve_ar")
_YUV = ("YUV420", "NV12")
_RGB = {"RGB888": 3, "BGR888": 3, "XRGB8888": 4, "XBGR8888": 4}


def video_configuration(
    main: dict[str, Any],
    *,
    lores: dict[str, Any] | None = None,
    raw: dict[str, Any] | None = None,
    transform: libcamera.Transform | None = None,
    buffer_count: int = 6,
    controls: dict[str, Any] | None = None,
    display: str | None = "main",
    encode: str | None = "main",
    queue: bool = True,
    sensor: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Fill in picamera2's defaults for video."""
    whole = {"format": "XBGR8888", "size": (1280, 720), "preserve_ar": True}
    main = _stream(whole, main)
    if lores is not None:
        part = {"format": "YUV420", "size": main["size"], "preserve_ar": False}
        lores = _stream(part, lores)
    fast = libcamera.controls.draft.NoiseReductionModeEnum.Fast
    standard = {"NoiseReductionMode": fast, "FrameDurationLimits": (33_333, 33_333)}
    return {
        "use_case": "video",
        "transform": transform or libcamera.Transform(),
        "buffer_count": buffer_count,
        "queue": queue,
        "main": main,
        "lores": lores,
        "raw": raw,
        "controls": standard | (controls or {}),
        "sensor": sensor or {},
        "display": display,
        "encode": encode,
    }


def checked_configuration(configuration: dict[str, Any], camera: Any) -> dict[str, Any]:
    """Copy a configuration, with sensor, sizes and strides as libcamera adjusts them."""
    adjusted = copy.deepcopy(configuration)
    main, lores = adjusted["main"], adjusted["lores"]
    if lores is not None and any(
        part > whole for part, whole in zip(lores["size"], main["size"], strict=True)
    ):
        raise RuntimeError("lores stream dimensions may not exceed main stream")
    for stream in (main, lores):
        if stream is not None:
            _adjust(stream, camera.size)
    size = adjusted["sensor"].get("output_size", main["size"])
    mode = min(camera.modes, key=lambda mode: _strangeness(size, mode))
    adjusted["sensor"] = {"bit_depth": 10, "output_size": mode}
    return adjusted


def _strangeness(wanted: tuple[int, int], mode: tuple[int, int]) -> float:
    """How badly a mode fits, as libcamera counts: one that is too small is worse."""
    lacks = [want - has for want, has in zip(wanted, mode, strict=True)]
    lacks.append(1500 * (wanted[0] / wanted[1] - mode[0] / mode[1]))
    return sum(2 * lack if lack >= 0 else -lack / 4 for lack in lacks)


def _stream(standard: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    for key in wanted:
        if key not in _STREAM_KEYS:
            raise ValueError(f"Bad key {key!r}: valid stream configuration keys are {_STREAM_KEYS}")
    stream = standard | wanted
    stream["size"] = tuple(length - length % 2 for length in stream["size"])
    return stream


def _adjust(stream: dict[str, Any], largest: tuple[int, int]) -> None:
    bounded = (min(size, most) for size, most in zip(stream["size"], largest, strict=True))
    width, height = (max(64, length) for length in bounded)
    align = 64 if stream["format"] == "YUV420" else 32
    row = width * _RGB.get(stream["format"], 1)
    stream["size"] = (width, height)
    stream["stride"] = -(-row // align) * align
    stream["framesize"] = stream["stride"] * height
    if stream["format"] in _YUV:
        stream["framesize"] = stream["framesize"] * 3 // 2

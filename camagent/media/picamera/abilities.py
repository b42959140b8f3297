"""What a Pi camera says of itself, in plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What a camera advertises once it is configured.

    Attributes:
        model: of the sensor, such as imx708.
        controls: least, most and default of each, by libcamera's names.
        size_px: all of the sensor's pixels; None if it does not tell.
        modes: the sensor's, as picamera2 lists them; empty where nobody asked for one.
        flips: how the picture is mirrored, left to right and top to bottom.
        has_isp_hdr: whether its ISP combines exposures, as that of a Pi 5 does.
    """

    model: str
    controls: Mapping[str, tuple[Any, Any, Any]]
    size_px: tuple[int, int] | None = None
    modes: Sequence[Mapping[str, Any]] = ()
    flips: tuple[bool, bool] = (False, False)
    has_isp_hdr: bool = False

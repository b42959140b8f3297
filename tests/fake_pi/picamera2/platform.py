"""Which Pi this is: a Pi 5 if RIG_PLATFORM says pisp."""

import os
from enum import Enum


class Platform(Enum):
    VC4 = 0
    PISP = 1


def get_platform() -> Platform:
    return Platform.PISP if os.environ.get("RIG_PLATFORM") == "pisp" else Platform.VC4

"""Looks for a Pi camera, and at what it can do, in a process of its own: see `media/finding.py`.

Reads what is asked from stdin and writes one line of JSON.
"""

import json
import os
import sys
import time
from typing import Any

from camagent.errors import CameraError, CameraRefused
from camagent.media.encoder import EncoderOptions
from camagent.media.picamera.camera import PiCamera
from camagent.media.picamera.wishes import CameraWishes

_TRIES = 3
_RETRY_DELAY_S = 1.0
"""An agent that was just replaced, or one for another camera, may hold libcamera for a moment."""


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Look for the camera; open it as well if `may_open`.

    The answer has a `problem`, or sentences in `refused`, or neither.
    """
    camera = PiCamera(EncoderOptions(**question["options"]), CameraWishes(**question["wishes"]))
    try:
        camera.look()
        if question["may_open"]:
            _check(camera)
    except CameraRefused as refused:
        return {"problem": None, "refused": refused.problems}
    except CameraError as error:
        return {"problem": str(error), "refused": []}
    return {"problem": None, "refused": []}


def _check(camera: PiCamera) -> None:
    for _ in range(_TRIES - 1):
        try:
            return camera.check()
        except CameraRefused:
            raise
        except CameraError:
            time.sleep(_RETRY_DELAY_S)
    return camera.check()


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(answer(json.load(sys.stdin))) + "\n")
    sys.stdout.flush()
    # A camera that hangs would hang the interpreter's end as well.
    os._exit(0)

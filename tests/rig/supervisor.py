"""Runs the agent inside the rig and starts it again when it fails, as systemd does on a Pi.

The list of cameras that libcamera reads at a start is the host's file `cameras`, and while there is
a file `neighbour`, something else has the camera.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

HOST = Path("/mnt/host")
CAMERA_LIST = "/usr/local/share/libcamera/pipeline/virtual/virtual.yaml"
RESTART_DELAY_S = 0.5
WRONG_SETTING = 78


def supervise(options: list[str]) -> None:
    """Start the agent until it ends well; SIGTERM is its end as well."""
    # Nobody else sees this: the rig's mounts are its own.
    subprocess.run(["/usr/bin/mount", "--bind", HOST / "cameras", CAMERA_LIST], check=True)
    status = 1
    while status not in {0, WRONG_SETTING}:
        agent = subprocess.Popen([sys.executable, "-B", __file__, "--agent", *options])
        signal.signal(signal.SIGTERM, lambda *_, one=agent: one.terminate())
        status = agent.wait()
        print(f"supervisor: the agent ended with {status}", flush=True)  # noqa: T201 - for the log
        if status == 1:
            time.sleep(RESTART_DELAY_S)


def run_agent() -> None:
    """Be the agent; the camera is taken first where it is to be busy.

    By this process, for the rig's camera can be opened once in each.
    """
    if (HOST / "neighbour").exists():
        is_taken = threading.Event()
        threading.Thread(target=take_camera, args=(is_taken,), daemon=True).start()
        is_taken.wait()
    runpy.run_module("camagent", run_name="__main__", alter_sys=True)


def take_camera(is_taken: threading.Event) -> None:
    from picamera2 import Picamera2  # noqa: PLC0415 - only where it is to be busy

    camera = Picamera2(0)
    is_taken.set()
    while (HOST / "neighbour").exists():
        time.sleep(0.05)
    camera.close()


if __name__ == "__main__":
    if sys.argv[1] == "--agent":
        del sys.argv[1]
        run_agent()
    else:
        os.chdir(HOST)
        supervise(sys.argv[1:])

"""Which cameras this process knows of."""

import libcamera


class CameraManager:
    """Keeps libcamera's own, which finds cameras once."""

    def __init__(self) -> None:
        self.cms = libcamera.CameraManager.singleton()

    def reset(self) -> None:
        libcamera.CameraManager.forget()
        self.cms = libcamera.CameraManager.singleton()

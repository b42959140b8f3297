"""Which cameras this process knows of."""

import libcamera


class CameraManager:
    """Keeps libcamera's own, which finds cameras once: when it is first asked for."""

    @property
    def cms(self) -> libcamera.CameraManager:
        return libcamera.CameraManager.singleton()

    def reset(self) -> None:
        libcamera.CameraManager.forget()

"""The one control of the imx708 that is set before the camera is opened."""

from typing import Self

from libcamera.manager import Camera

from picamera2.camera import Picamera2


class IMX708:
    def __init__(self, camera_num: int | None = None) -> None:
        models = [
            info["Num"] for info in Picamera2.global_camera_info() if info["Model"] == "imx708"
        ]
        if not models or camera_num not in {None, *models}:
            raise RuntimeError("IMX708: Requested IMX708 camera device not be found")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        pass

    def set_sensor_hdr_mode(self, enable: bool) -> None:
        Camera.is_sensor_hdr = bool(enable)
        Picamera2._cm.reset()

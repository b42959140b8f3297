"""The camera is opened for real, and told in one line."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from camagent.check.camera import check_camera
from camagent.check.findings import Verdict
from camagent.errors import CameraError
from camagent.media.container import ContainerSource
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import Encoding, Publish, Stream
from camagent.media.synthetic import SyntheticSource
from camagent.privacy import InUseLight

OPTIONS = EncoderOptions(
    width_px=320, height_px=240, frames_per_second=30, bitrate_bps=500_000, keyframe_interval_s=10
)


class NoEncoder:
    """An encoding of nothing."""

    encoder = "nothing"
    makes_keyframes = True

    @property
    def main(self) -> Encoding:
        return self

    @contextmanager
    def low_rung(self, _publish: Publish) -> Iterator[Encoding]:
        yield self

    def snapshot(self) -> bytes:
        return b""

    def force_keyframe(self) -> None:
        pass

    def set_bitrate(self, bitrate_bps: int) -> None:
        pass


class OddSource:
    """A camera that does `odd` when it is opened, and gives no frame."""

    name = "odd"
    survives_failure = True

    def __init__(self, odd: Callable[[], object]) -> None:
        self._odd = odd

    @contextmanager
    def opened(self, _publish: Publish) -> Iterator[Stream]:
        self._odd()
        yield NoEncoder()


async def test_a_camera_that_works_is_described() -> None:
    """Source, size, encoder and the time to the first frame."""
    finding = await check_camera(SyntheticSource(OPTIONS))

    assert finding.verdict is Verdict.OK
    assert re.fullmatch(
        r"synthetic, 320x240, encoded by libx264, first frame after \d+ ms", finding.text
    )


async def test_a_camera_that_is_not_there_fails(tmp_path: Path) -> None:
    """The source's own words are told, and there is something to do."""
    source = ContainerSource(OPTIONS, url=str(tmp_path / "none.mp4"))
    finding = await check_camera(source)

    assert finding.verdict is Verdict.FAILED
    assert "none.mp4 cannot be opened: No such file" in finding.text
    assert finding.fix


async def test_a_camera_that_hangs_does_not_hang_the_command() -> None:
    """Its thread is left behind, and the deadline is told."""
    released = threading.Event()
    try:
        finding = await check_camera(OddSource(released.wait), deadline_s=0.1)
    finally:
        released.set()

    assert finding.verdict is Verdict.FAILED
    assert finding.text == "opening odd takes more than 0.1 s"


async def test_a_camera_without_pictures_fails() -> None:
    """To be open is not enough."""
    finding = await check_camera(OddSource(lambda: None), deadline_s=1.0)

    assert finding.text == "odd opened, but gave no picture for 1 s"


async def test_what_nobody_foresaw_is_told_as_well() -> None:
    """A camera's library may fail in any way; the check goes on."""
    finding = await check_camera(OddSource(lambda: {}["sensor"]))

    assert finding.verdict is Verdict.FAILED
    assert "KeyError('sensor')" in finding.text


async def test_a_camera_that_is_switched_off_is_not_opened(tmp_path: Path) -> None:
    """The kill switch is heeded by this command too."""
    switch = tmp_path / "camera-off"
    switch.touch()
    opened = threading.Event()
    finding = await check_camera(OddSource(opened.set), kill_switch=switch)

    assert finding.verdict is Verdict.SKIPPED
    assert str(switch) in finding.text
    assert not opened.is_set()


async def test_the_light_is_lit_while_the_camera_looks(tmp_path: Path) -> None:
    """Whoever stands before it sees that the check looks, and that it ceases to."""
    led = tmp_path / "ACT"
    led.mkdir()
    (led / "brightness").write_text("0")
    (led / "max_brightness").write_text("1")
    seen: list[str] = []

    def look() -> None:
        seen.append((led / "brightness").read_text())
        raise CameraError("that is enough")

    await check_camera(OddSource(look), light=InUseLight("ACT", leds=tmp_path))

    assert seen == ["1"]
    assert (led / "brightness").read_text() == "0"

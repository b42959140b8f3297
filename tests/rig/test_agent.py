"""The whole way on a Raspberry Pi: the real picamera2, the agent, the relay, and Chromium."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from server_stub.relay import Relay
from tests.chromium import chromium
from tests.end_to_end.house import DEVICE_ID, Watching, relay, watching
from tests.rig.rig import Rig, SupervisedAgent
from tests.support import eventually, until

pytestmark = pytest.mark.rig

_ONLINE_DEADLINE_S = 60.0
_HEALING_DEADLINE_S = 60.0
_ENCODERS = {"vc4": "chip", "pisp": "software"}

# Which may be missing when the camera is found again; only some Pis have one.
_NO_ENCODER = {"vc4": "enc-absent", "pisp": ""}
_BUSY_ENCODER = {"vc4": "enc-busy", "pisp": ""}
_ENCODES_WITH_LIBX264 = "picamera.encodes_with_libx264"


@dataclass(frozen=True)
class House:
    """A relay, and an agent in the rig that is online there."""

    relay: Relay
    agent: SupervisedAgent
    address: str

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Watching]:
        """Hold a page that watches."""
        async with (
            chromium() as browser,
            watching(browser, self.address, self.relay.port) as page,
        ):
            yield page

    async def until_presence_says(self, camera: str, problem: str) -> None:
        """Wait until the device reports that of its camera."""

        async def is_told() -> bool:
            report = await self.relay.presence.last_report(DEVICE_ID) or {}
            return report.get("camera") == camera and problem in (
                report.get("camera_problem") or ""
            )

        await eventually(is_told, deadline_s=_HEALING_DEADLINE_S)


@asynccontextmanager
async def house(rig: Rig, address: str, platform: str) -> AsyncIterator[House]:
    """Hold a house whose agent runs as on a Pi 4 (vc4) or a Pi 5 (pisp)."""
    async with relay(rig.folder) as built:
        options = [f"--device-id={DEVICE_ID}", f"--server-url=ws://127.0.0.1:{built.port}"]
        with rig.agent(*options, "--log-level=debug", platform=platform) as agent:
            await until(lambda: DEVICE_ID in built.devices, deadline_s=_ONLINE_DEADLINE_S)
            yield House(built, agent, address)


async def until_told(page: Watching, reason: str) -> None:
    """Wait until the person is told that there is no picture, and why.

    Not only what the device says of its camera: that may be known before it was asked for a picture.
    """

    async def is_told() -> bool:
        return bool(await page.dataset("failure")) and reason in await page.text()

    await eventually(is_told, deadline_s=_HEALING_DEADLINE_S)


@pytest.mark.parametrize("platform", _ENCODERS)
async def test_chromium_watches_through_faults(rig: Rig, own_address: str, platform: str) -> None:
    """Whatever takes the pictures away for some seconds, the same session shows them again."""
    faults = [(rig.set_camera_fault, "stall"), (rig.set_camera_fault, "error")]
    if platform == "vc4":
        faults.append((rig.set_encoder_fault, "enc-hang"))
    async with house(rig, own_address, platform) as built, built.page() as page:
        await page.until_first_frame()
        await page.until_it_moves()
        size = await page.video.evaluate("video => [video.videoWidth, video.videoHeight]")
        first = await page.video.screenshot()
        for count, (set_fault, fault) in enumerate(faults):
            set_fault(fault)
            await until(lambda count=count: built.agent.count("capture.stalled") > count)
            set_fault("")
            await page.until_it_moves()
        second = await page.video.screenshot()
        sessions = await built.relay.store.sessions()

    assert size == [1280, 720]
    assert first != second
    assert [record.reason for record in sessions] == [None], "one session, which has not ended"
    assert built.agent.ends == [0]
    assert (rig.folder / "video11.log").exists() == (_ENCODERS[platform] == "chip")
    assert "session.closed" in built.agent.log()


@pytest.mark.parametrize("platform", _ENCODERS)
async def test_a_camera_that_comes_late_is_watched(
    rig: Rig, own_address: str, platform: str
) -> None:
    """While none is found, person and server are told; found, it is seen, by libx264 if need be."""
    rig.connect_camera(is_connected=False)
    rig.set_encoder_fault(_NO_ENCODER[platform])
    async with house(rig, own_address, platform) as built:
        await built.until_presence_says("error", "libcamera finds no Pi camera")
        async with built.page() as page:
            await until_told(page, "libcamera finds no Pi camera")
            assert built.agent.ends == []
            rig.connect_camera(is_connected=True)
            await page.until("watchState", "streaming", deadline_s=_HEALING_DEADLINE_S)
            await page.until_it_moves()
            await built.until_presence_says("live", "")

    assert built.agent.ends == [1, 0]
    assert "connected since this process looked" in built.agent.log()
    assert built.agent.count(_ENCODES_WITH_LIBX264) == (platform == "vc4")


@pytest.mark.parametrize("platform", _ENCODERS)
async def test_a_camera_that_was_busy_is_watched(rig: Rig, own_address: str, platform: str) -> None:
    """While another has it, person and server are told; given up, it is seen without a restart."""
    rig.set_neighbour(has_camera=True)
    rig.set_encoder_fault(_BUSY_ENCODER[platform])
    async with house(rig, own_address, platform) as built, built.page() as page:
        await until_told(page, "the Pi camera cannot be opened")
        await built.until_presence_says("error", "the Pi camera cannot be opened")
        rig.set_neighbour(has_camera=False)
        await page.until("watchState", "streaming", deadline_s=_HEALING_DEADLINE_S)
        await page.until_it_moves()
        await built.until_presence_says("live", "")

    assert built.agent.ends == [0]
    assert built.agent.count(_ENCODES_WITH_LIBX264) == (platform == "vc4")

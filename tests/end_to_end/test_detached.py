"""Pictures that go on while the server cannot speak for them: how long nothing may come before they count as dead."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from aiortc import VideoStreamTrack
from av import VideoFrame
from playwright.async_api import Page, expect

from server_stub.relay import Relay
from tests.end_to_end.conftest import OpenDevice, OpenPage
from tests.end_to_end.house import DEVICE_ID, Watching
from tests.end_to_end.played import expect_state, serve
from tests.end_to_end.readout import Readout
from tests.support import eventually

# Notes of each report that the page reads how many pictures had been decoded.
NOTE_READINGS = """
  window.readings = [];
  const { getStats } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.getStats = async function () {
    const report = await getStats.call(this);
    const video = [...report.values()].find(({ type }) => type === 'inbound-rtp');
    window.readings.push(video?.framesDecoded ?? 0);
    return report;
  };
"""
SHOWN = {"main": "full picture", "stills": "stills only"}


class GatedTrack(VideoStreamTrack):
    """Pictures while the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def recv(self) -> VideoFrame:
        await self.gate.wait()
        return await super().recv()


@pytest.mark.parametrize(("rung", "patience_s"), [("main", 2), ("stills", 5)])
async def test_a_device_that_sends_stills_is_given_the_time_for_them(
    server: Relay, page_for: OpenPage, device_for: OpenDevice, rung: str, patience_s: int
) -> None:
    """Two seconds without a picture are the end of a moving one, and nothing where one comes each two."""
    device, track = await device_for(server.port), GatedTrack()
    page = await page_for(server.port, device=DEVICE_ID, before=NOTE_READINGS)
    person = Watching(page)
    async with AsyncExitStack() as stack:
        report = {"rung": rung, "reason": "start", "bitrate_bps": 100_000}
        report["session_id"] = await serve(device, stack, track)
        await expect_state(page, state="live")
        await page.keyboard.press("i")
        await page.clock.pause_at(time.time() + 3)
        await device.say("session_report", **report)

        async def is_shown() -> bool:
            await person.until_it_moves()
            await _tick(page)
            return (await Readout(person).text("rung")).startswith(SHOWN[rung])

        await eventually(is_shown)
        await device.close()
        await expect(page.locator("[data-part=notice]")).to_contain_text("The picture goes on.")
        await person.until_it_moves()
        await _tick(page)
        track.gate.clear()
        assert await _silence(page) == patience_s


async def _silence(page: Page) -> int:
    """Let the page's clock go on until the picture counts as dead; give how many seconds nothing had come."""
    person = Watching(page)
    for _ in range(20):
        if await person.dataset("picture") != "moving":
            break
        await _tick(page)
    readings = await page.evaluate("readings")
    return len(readings) - 1 - readings.index(readings[-1])


async def _tick(page: Page) -> None:
    """Let a second pass, and the figures be read that are read in each."""
    count = await page.evaluate("readings.length")
    await page.clock.run_for(1000)
    await eventually(lambda: page.evaluate(f"readings.length > {count}"))

"""The page's live figures, each against somebody else who knows."""

import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from camagent.media.drawing import TestPicture
from tests import network as networks
from tests.conftest import missing
from tests.end_to_end.house import agent, relay, watching
from tests.end_to_end.readout import Readout
from tests.end_to_end.test_far_viewer import far_person
from tests.network import Faults, Network
from tests.support import eventually


async def test_the_latency_is_true(program: Callable[[str, str], str], tmp_path: Path) -> None:
    """Whether each way takes no time, 50 ms or 150 ms, it is what the picture's own clock says."""
    path = program("chromium", "chromium")
    try:
        async with (
            networks.network(is_slow=True) as network,
            far_person(network, path, tmp_path) as person,
        ):
            for delay_ms in (0, 50, 150):
                way = Faults(delay_ms=delay_ms)
                async with network.faulty(down=way, up=way):
                    await person.page.reload()
                    await person.until_first_frame()
                    errors_ms = await _latency_errors_ms(Readout(person))
                # Single seconds differ while the machine is busy: their pictures are not the same ones.
                assert statistics.median(errors_ms) == pytest.approx(0, abs=15), delay_ms
    except networks.NoNetwork as error:
        missing(f"this machine has no network to test with: {error}")


async def _latency_errors_ms(readout: Readout) -> list[float]:
    """Compare what is shown with the cells of the same second: for 3 s, and longer if they are off.

    A busy machine has no short round trip at first, and the shortest is what counts.
    """
    await readout.show()

    async def is_known() -> bool:
        return await readout.number("latency") is not None

    await eventually(is_known)
    errors_ms: list[float] = []
    for _ in range(15):
        if len(errors_ms) >= 3 and abs(statistics.median(errors_ms[-3:])) <= 15:
            break
        await readout.forget()
        await readout.until_next()
        shown_ms = await readout.number("latency")
        if shown_ms is not None:
            errors_ms.append(shown_ms - (await readout.cells())[0])
    return errors_ms[-3:]


async def test_the_figures_are_true(
    browser: Browser, own_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size, rates, rung and path are what the agent has; a stall of the camera is a freeze."""
    gate = threading.Event()
    gate.set()
    draw = TestPicture.draw

    def draw_or_wait(picture: TestPicture, unix_time_us: int) -> Any:
        gate.wait()
        return draw(picture, unix_time_us)

    monkeypatch.setattr(TestPicture, "draw", draw_or_wait)
    async with (
        relay(tmp_path) as server,
        agent(server.port) as camera,
        watching(browser, own_address, server.port) as person,
    ):
        await person.until_first_frame()
        readout = Readout(person)
        await readout.show()
        await eventually(_says(readout, "rung", "full picture"))
        assert await readout.text("size") == "640 \u00d7 360"
        assert (await readout.text("path")).startswith("direct (")
        stages = (await readout.text("first")).split(" · ")
        reached_ms = [int(stage.removesuffix(" ms").split(" ")[-1]) for stage in stages]
        assert len(reached_ms) == 6
        assert reached_ms == sorted(reached_ms)

        await readout.until_next()
        sent, began_s = camera.registry.totals(), time.monotonic()
        shown_bps, shown_fps = [], []
        for _ in range(4):
            await readout.until_next()
            shown_bps.append(await readout.bits_per_s())
            shown_fps.append(await readout.number("rate") or 0)
        totals, took_s = camera.registry.totals(), time.monotonic() - began_s
        assert statistics.mean(shown_bps) == pytest.approx(
            8 * (totals.bytes - sent.bytes) / took_s, rel=0.2
        )
        assert statistics.mean(shown_fps) == pytest.approx(
            (totals.frames - sent.frames) / took_s, rel=0.2
        )

        # A busy machine may have frozen it before.
        before = await readout.freezes()
        gate.clear()
        await asyncio.sleep(1.5)  # this long the picture stands still
        gate.set()

        async def has_frozen() -> bool:
            count, frozen_s = await readout.freezes()
            return count > before[0] and frozen_s >= before[1] + 1.2

        await eventually(has_frozen)


async def test_the_loss_is_true(
    network: Network, program: Callable[[str, str], str], tmp_path: Path
) -> None:
    """It is the share that the network dropped, though most of that is repaired."""
    async with far_person(network, program("chromium", "chromium"), tmp_path) as person:
        readout = Readout(person)
        await readout.show()
        await eventually(_says(readout, "loss", "0.0 %"))
        async with network.faulty(down=Faults(loss_percent=10)):
            await readout.until_next()
            shown = []
            for _ in range(4):
                await readout.until_next()
                shown.append(await readout.number("loss") or 0)
        assert statistics.mean(shown) == pytest.approx(10, abs=5)


async def test_the_overlay_is_hidden_and_shown(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """By button and key; what was chosen is remembered, plots have words, a phone has it below."""
    async with (
        relay(tmp_path) as server,
        agent(server.port),
        watching(browser, own_address, server.port) as person,
    ):
        await person.until_first_frame()
        panel = person.page.locator("[data-part=figures-panel]")
        button = person.page.get_by_role("button", name="Figures")
        await expect(panel).to_be_hidden()
        await button.click()
        await expect(panel).to_be_visible()
        await expect(button).to_have_attribute("aria-pressed", "true")
        for name in ("Bitrate", "Packets lost", "Latency"):
            plot = panel.get_by_role("img", name=f"{name} in the last")
            await expect(plot).to_have_count(1)
        line = person.page.locator("[data-part=figures]")
        await expect(line).to_be_hidden()
        await person.page.keyboard.press("i")
        await expect(panel).to_be_hidden()
        await expect(line).to_be_visible()
        await person.page.keyboard.press("i")
        await person.page.keyboard.press("o")
        await expect(panel).to_be_hidden()
        await expect(button).to_have_attribute("aria-pressed", "false")
        await button.click()
        await expect(panel).to_be_visible()
        overlays = person.page.get_by_role("button", name="Overlays")
        await expect(overlays).to_have_attribute("aria-pressed", "true")
        await person.page.set_viewport_size({"width": 360, "height": 740})
        picture, below = await person.video.bounding_box(), await panel.bounding_box()
        assert picture is not None
        assert below is not None
        assert below["y"] >= picture["y"] + picture["height"]
        await person.page.reload()
        await person.until_first_frame()
        await expect(panel).to_be_visible()


def _says(readout: Readout, name: str, beginning: str) -> Callable[[], Awaitable[bool]]:
    async def says() -> bool:
        return (await readout.text(name)).startswith(beginning)

    return says

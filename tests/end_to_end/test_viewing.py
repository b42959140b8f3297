"""What a person can do on the viewer page beyond watching, and what the page tells of devices."""

import re
from contextlib import AsyncExitStack

import pytest
from PIL import Image
from playwright.async_api import Browser, Page, expect

from server_stub.relay import Relay
from tests.end_to_end.conftest import OpenDevice, OpenPage
from tests.end_to_end.house import DEVICE_ID, agent, watching
from tests.end_to_end.played import (
    NOTE_TEXTS,
    button_of,
    expect_state,
    grant,
    serve,
    sign_in_again,
    tile_of,
)
from tests.support import eventually

ADD_UP_SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shifted += entry.value;
}).observe({ type: 'layout-shift', buffered: true });
"""
STRAINED = {
    "camera": "idle",
    "temperature": 83.2,
    "battery": 9,
    "wifi_signal_dbm": -79,
    "under_voltage": {"now": True},
    "throttled": {"now": False, "since_boot": True},
    "disk_free_mb": 120,
    "memory_available_mb": 20,
    "memory_total_mb": 900,
    "load": 9,
    "cpu_count": 4,
    "clock_synced": False,
}
WARNINGS = (
    "under-voltage: the picture may stutter",
    "throttled since it started",
    "hot:",
    "weak Wi-Fi",
    "battery low",
    "disk nearly full: 120 MB left",
    "memory nearly used up: 20 MB left",
    "busy:",
    "clock not set",
)


async def test_what_strains_a_device_is_told_in_words(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Each warning is on its card, and none on that of a device that is well."""
    await grant(server, "attic")
    strained, well = await device_for(server.port), await device_for(server.port, "attic")
    await strained.say("device_presence", **STRAINED)
    await well.say("device_presence", temperature=41, wifi_signal_dbm=-60, battery=90)
    page = await page_for(server.port)
    for text in WARNINGS:
        await expect(button_of(page, DEVICE_ID).locator(".warnings")).to_contain_text(text)
    await expect(button_of(page, "attic")).to_contain_text("Wi-Fi good (-60 dBm)")
    await expect(button_of(page, "attic").locator(".warnings")).to_be_empty()


async def test_the_last_picture_stays_on_the_card(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """After the end it is there, small; whoever signs out leaves none behind."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    async with AsyncExitStack() as stack:
        await serve(device, stack)
        await expect_state(page, state="live")
        await page.keyboard.press("Escape")
    image = button_of(page, DEVICE_ID).locator("img")
    await expect(image).to_be_visible()
    assert await image.evaluate("async image => { await image.decode(); return true; }")
    assert await image.evaluate("image => image.naturalWidth") == 480
    await page.get_by_role("button", name="Sign out").click()
    await sign_in_again(page, device, DEVICE_ID)
    await expect(button_of(page, DEVICE_ID).locator("img")).to_be_hidden()


async def test_a_snapshot_is_a_file(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """It has the picture's full size, and device and time in its name; each one is announced."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    async with AsyncExitStack() as stack:
        await serve(device, stack)
        await expect_state(page, state="live")
        await page.evaluate(NOTE_TEXTS, "#aloud")
        saved = "A snapshot of cam was saved."
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Snapshot").click()
        file = await download.value
        await expect(page.locator("#aloud")).to_have_text(saved)
        async with page.expect_download():
            await page.keyboard.press("s")
        await eventually(lambda: page.evaluate("texts.length > 2"))
        assert await page.evaluate("texts") == [saved, "", saved]
    name = r"cam-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.png"
    assert re.fullmatch(name, file.suggested_filename)
    with Image.open(await file.path()) as picture:
        assert (picture.format, picture.size) == ("PNG", (640, 480))


async def test_full_screen_and_a_small_window_are_a_key_away(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """F and P, each of them there and back."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    is_full = "() => document.fullscreenElement?.className === 'frame'"
    is_small = "() => document.pictureInPictureElement !== null"
    async with AsyncExitStack() as stack:
        await serve(device, stack)
        await expect_state(page, state="live")
        for key, claim in (("f", is_full), ("p", is_small)):
            await page.keyboard.press(key)
            await eventually(lambda claim=claim: page.evaluate(claim))
            await page.keyboard.press(key)
            await eventually(lambda claim=claim: page.evaluate(f"!({claim})()"))


async def test_what_lies_over_the_picture_can_be_hidden(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """By key and by button, and the page remembers it."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    figures, button = (
        page.locator("[data-part=figures]"),
        page.get_by_role("button", name="Overlays"),
    )
    async with AsyncExitStack() as stack:
        await serve(device, stack)
        await expect(figures).to_be_visible()
        await page.keyboard.press("o")
        await expect(figures).to_be_hidden()
        await expect(button).to_have_attribute("aria-pressed", "false")
        await page.reload()
        await serve(device, stack)
        await expect_state(page, state="live", overlays="hidden")
        await button.click()
        await expect(figures).to_be_visible()


async def test_keys_are_explained_and_can_be_switched_off(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """The help opens with ? and closes with Escape, which then means nothing else."""
    await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    await expect_state(page, watch_state="offer_sent")
    dialog = page.get_by_role("dialog", name="Keys")
    await page.keyboard.press("?")
    await expect(dialog).to_be_visible()
    await page.get_by_label("Single keys do these things").uncheck()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect_state(page, state="asking")
    await page.keyboard.press("o")
    await expect_state(page, overlays="shown")
    await page.keyboard.press("Escape")
    await expect_state(page, state="choosing")


@pytest.mark.parametrize("width_px", [360, 1280])
async def test_the_picture_comes_without_a_jump(
    server: Relay, page_for: OpenPage, device_for: OpenDevice, width_px: int
) -> None:
    """From asking to a picture that has another shape than its place, nothing moves."""
    device = await device_for(server.port)
    page = await page_for(
        server.port,
        device=DEVICE_ID,
        before=ADD_UP_SHIFTS,
        viewport={"width": width_px, "height": 740},
    )
    async with AsyncExitStack() as stack:
        await serve(device, stack)
        await expect_state(page, state="live")
        await expect(page.locator("[data-part=figures]")).to_contain_text("480")
    assert await page.evaluate("() => window.shifted") < 0.01


async def test_a_sleep_is_noticed(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """After an hour in which nothing ran the page says so, and offers anew at once."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    first = await device.receive("signal_offer")
    await page.clock.fast_forward("01:00:00")
    await expect_state(page, failure="slept")
    await expect(page.locator("[data-part=status-title]")).to_have_text("This computer was asleep.")
    assert (await device.receive("watch_ended"))["session_id"] == first["session_id"]
    assert (await device.receive("signal_offer"))["session_id"] != first["session_id"]


async def test_an_offline_device_says_since_when(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """The page tells when it was there last, and once it is back, that it was away."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    async with AsyncExitStack() as stack:
        await serve(device, stack)
        await expect_state(page, state="live")
        await device.close()
    await expect_state(page, picture="still", failure="device_offline")
    advice = page.locator("[data-part=status-advice]")
    await expect(advice).to_contain_text(re.compile(r"It was last seen at .*, just now\."))
    async with AsyncExitStack() as stack:
        await serve(await device_for(server.port), stack)
        notice = page.locator("[data-part=notice]")
        await expect(notice).to_contain_text(
            re.compile(r"The picture is back after \d+ s\. The camera had been offline\.")
        )


# Side by side


async def test_one_device_s_end_is_not_another_s(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Of two pictures over one connection one goes and says why; the other goes on."""
    await grant(server, "attic")
    cam, attic = await device_for(server.port), await device_for(server.port, "attic")
    page = await page_for(server.port)
    await page.get_by_role("button", name="Watch all 2 online").click()
    async with AsyncExitStack() as stack:
        await serve(cam, stack)
        async with AsyncExitStack() as brief:
            await serve(attic, brief)
            for device_id in (DEVICE_ID, "attic"):
                await expect(tile_of(page, device_id)).to_have_attribute("data-picture", "moving")
            await attic.close()
        await expect(tile_of(page, "attic")).to_contain_text("The camera is offline.")
        await expect(tile_of(page, DEVICE_ID)).to_have_attribute("data-picture", "moving")
        await page.get_by_role("button", name="Close attic").click()
        await expect(tile_of(page, "attic")).to_have_count(0)
        await expect(page.locator("#watch-title")).to_have_text(DEVICE_ID)


async def test_a_small_picture_is_a_low_rung(
    server: Relay, browser: Browser, own_address: str
) -> None:
    """Beside others devices send little; enlarged, all they have, also if they have one place only."""
    await grant(server, "attic")
    async with (
        agent(server.port, max_viewers=1),
        agent(server.port, device_id="attic"),
        watching(browser, own_address, server.port) as person,
    ):
        await person.until_first_frame()
        sockets: list[object] = []

        def note(socket: object) -> None:
            sockets.append(socket)

        person.page.on("websocket", note)
        await person.page.keyboard.press("Escape")
        await person.page.get_by_role("button", name="Watch all 2 online").click()
        for device_id in (DEVICE_ID, "attic"):
            await eventually(lambda one=device_id: _is_wide(person.page, one, 320))
        await person.page.get_by_role("button", name=f"Enlarge {DEVICE_ID}").click()
        await eventually(lambda: _is_wide(person.page, DEVICE_ID, 640))
        assert await _is_wide(person.page, "attic", 320)
        await person.page.keyboard.press("1")
        await eventually(lambda: _is_wide(person.page, "attic", 640))
        await eventually(lambda: _is_wide(person.page, DEVICE_ID, 320))
        assert sockets == []
        await person.page.keyboard.press("Escape")
        await expect(person.page.locator("#wall")).to_have_attribute("data-layout", "grid")
        await person.page.keyboard.press("Escape")
        await eventually(lambda: _nobody_watches(server))


async def _is_wide(page: Page, device_id: str, width_px: int) -> bool:
    video = tile_of(page, device_id).locator("video[data-shown]")
    if await video.count() == 0:
        return False
    return bool(await video.evaluate("(video, wide) => video.videoWidth === wide", width_px))


async def _nobody_watches(server: Relay) -> bool:
    return len(server.sessions) == 0

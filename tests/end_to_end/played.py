"""Devices with a picture by the plainest means: a test's script, and a peer of aiortc."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCPeerConnection,
    RTCSessionDescription,
    VideoStreamTrack,
)
from playwright.async_api import Locator, Page, expect

from server_stub.relay import Relay
from tests.end_to_end.conftest import ScriptedDevice, good_token
from tests.end_to_end.house import USER_ID
from tests.support import DEADLINE_S

# Looks at each change: a state that soon passes is between two looks of whoever only polls.
_UNTIL_STATE = """(claims) => new Promise((resolve) => {
  const look = (_changes, observer) => {
    const isSo = Object.entries(claims).every(
      ([name, value]) => document.body.getAttribute(`data-${name}`) === value);
    if (!isSo) return;
    observer.disconnect();
    resolve();
  };
  const observer = new MutationObserver(look);
  observer.observe(document.body, { attributes: true });
  look([], observer);
})"""

NOTE_TEXTS = """(selector) => {
  window.texts = [];
  const element = document.querySelector(selector);
  const note = () => window.texts.push(element.textContent);
  new MutationObserver(note).observe(element, { childList: true });
}"""
"""Notes each text that an element has from now on."""

NOTE_REQUESTS = """
  window.asked = [];
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (text) {
    const { type, payload } = JSON.parse(text);
    if (type === 'watch_request') window.asked.push(payload.device_id);
    send.call(this, text);
  };
"""
"""Notes each device that the page asks to watch; to run before the page's own scripts."""


async def expect_state(page: Page, **claims: str) -> None:
    """Wait until the body's data attributes are all as claimed, be it for a moment."""
    wanted = {name.replace("_", "-"): value for name, value in claims.items()}
    try:
        async with asyncio.timeout(DEADLINE_S):
            await page.evaluate(_UNTIL_STATE, wanted)
    except TimeoutError:
        body = page.locator("body")
        assert {name: await body.get_attribute(f"data-{name}") for name in wanted} == wanted


async def sign_in_again(page: Page, device: ScriptedDevice, device_id: str) -> None:
    """Come to the cards after signing out: the only device is watched at once, which is ended."""
    await page.get_by_label("Access token").fill(good_token())
    await page.keyboard.press("Enter")
    await device.receive("watch_request")
    await page.keyboard.press("Escape")
    await expect(button_of(page, device_id)).to_be_visible()


def button_of(page: Page, device_id: str) -> Locator:
    return page.locator("button.device").filter(has=page.get_by_text(device_id, exact=True))


def tile_of(page: Page, device_id: str) -> Locator:
    return page.locator(f'.tile[data-device-id="{device_id}"]')


async def grant(server: Relay, *device_ids: str) -> None:
    for device_id in device_ids:
        await server.store.add_device(device_id)
        await server.store.grant(USER_ID, device_id)


async def serve(
    device: ScriptedDevice, stack: AsyncExitStack, track: MediaStreamTrack | None = None
) -> str:
    """Answer the device's next offer with a test picture, or `track`; give the session's id."""
    offer = await device.receive("signal_offer")
    session_id = str(offer["session_id"])
    await send_answer(device, session_id, (await answer_to(offer, stack, track)).splitlines())
    return session_id


async def answer_to(
    offer: dict[str, Any], stack: AsyncExitStack, track: MediaStreamTrack | None = None
) -> str:
    """Answer an offer with a test picture, or `track`; gives the SDP, the candidates in it."""
    connection = RTCPeerConnection()
    stack.push_async_callback(connection.close)
    connection.addTrack(track or VideoStreamTrack())
    sdp = offer["sdp"]
    await connection.setRemoteDescription(RTCSessionDescription(sdp["sdp"], sdp["type"]))
    await connection.setLocalDescription(await connection.createAnswer())
    return connection.localDescription.sdp


async def send_answer(device: ScriptedDevice, session_id: str, lines: Sequence[str]) -> None:
    answer = {"type": "answer", "sdp": "".join(f"{line}\r\n" for line in lines)}
    await device.say("signal_answer", session_id=session_id, sdp=answer)


def is_candidate(line: str) -> bool:
    return line.startswith(("a=candidate:", "a=end-of-candidates"))

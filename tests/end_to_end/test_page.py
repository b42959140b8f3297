"""What the viewer page does that needs no camera: signing in, choosing, and every way to fail."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

import server_stub
from server_stub.app import running
from server_stub.relay import Relay
from tests.end_to_end.conftest import OpenDevice, OpenPage, good_token
from tests.end_to_end.house import DEVICE_ID, USER_ID, relay, relay_settings
from tests.end_to_end.played import (
    NOTE_REQUESTS,
    answer_to,
    button_of,
    expect_state,
    grant,
    is_candidate,
    send_answer,
)
from tests.support import eventually, until

WEB = Path(server_stub.__file__).parent / "web"
NOTE_TITLES = """() => {
  window.titles = [];
  const title = document.querySelector('[data-part=status-title]');
  const note = () => window.titles.push(title.textContent);
  new MutationObserver(note).observe(title, { childList: true, characterData: true, subtree: true });
}"""
PHONE = {"width": 360, "height": 740}
STAGE_DEADLINE_MS = 15_000
PATH_DEADLINE_MS = 17_000
POLL_MS = 5_000


async def width_overflow_px(page: Page) -> int:
    return int(
        await page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    )


async def test_every_module_is_fetched_at_once(server: Relay, page_for: OpenPage) -> None:
    """The page names all its modules, so that none waits for another to name it."""
    page = await page_for(server.port, token=None)
    named = await page.locator("link[rel=modulepreload], script").evaluate_all(
        "elements => elements.map((one) => new URL(one.href ?? one.src).pathname)"
    )
    there = {f"/{path.name}" for path in WEB.glob("*.js")}
    assert set(named) == there


@pytest.mark.parametrize(("bad_loads", "loads"), [(2, 3), (9, 4)])
async def test_a_page_that_lacks_a_module_loads_again(
    server: Relay, browser: Browser, bad_loads: int, loads: int
) -> None:
    """As after a change of network meanwhile; a few times, and then it says so."""
    page = await browser.new_page()
    begun = 0

    def note(_page: Page) -> None:
        nonlocal begun
        begun += 1

    async def answer(route: Route) -> None:
        await (route.abort() if begun < bad_loads else route.continue_())

    page.on("load", note)
    await page.route("**/words.js", answer)
    await page.goto(f"http://127.0.0.1:{server.port}/#token={good_token()}")
    if loads > bad_loads:
        await expect(page.get_by_role("heading", name="Cameras")).to_be_visible()
        assert await page.evaluate("history.state") is None
    else:
        await expect(page.get_by_role("alert")).to_contain_text("could not be loaded completely")
    await until(lambda: begun == loads)
    await page.close()


# Signing in


async def test_without_a_token_it_asks_for_one(server: Relay, page_for: OpenPage) -> None:
    """A pasted token signs in, and what surrounds it is of no matter."""
    page = await page_for(server.port, token=None)
    await expect_state(page, state="signed_out")

    await page.get_by_label("Access token").fill(f"  {good_token()}\n")
    await page.get_by_role("button", name="Sign in").click()

    await expect_state(page, state="choosing", link="active")
    await expect(button_of(page, DEVICE_ID)).to_be_visible()


@pytest.mark.parametrize("token", ["nonsense", good_token(valid_for_s=-1)])
async def test_a_refused_token_leads_back_to_the_form(
    server: Relay, page_for: OpenPage, token: str
) -> None:
    """A forged or expired token is called so, and a good one helps."""
    page = await page_for(server.port, token=token)
    await expect(page.get_by_role("alert")).to_contain_text("did not accept this token")

    await page.get_by_label("Access token").fill(good_token())
    await page.keyboard.press("Enter")

    await expect_state(page, state="choosing", link="active")
    await expect(page.get_by_role("alert")).to_be_hidden()


async def test_the_token_leaves_the_address_bar(server: Relay, page_for: OpenPage) -> None:
    """The fragment is gone, and a reload is still signed in."""
    page = await page_for(server.port)
    await expect_state(page, state="choosing")
    assert page.url == f"http://127.0.0.1:{server.port}/"

    await page.reload()
    await expect_state(page, state="choosing", link="active")


async def test_another_link_in_the_same_tab_is_taken(server: Relay, page_for: OpenPage) -> None:
    """A fragment that is pasted over the page replaces the token and the device."""
    page = await page_for(server.port, token="nonsense")
    await expect_state(page, state="signed_out")

    await page.evaluate(f"location.hash = 'token={good_token()}&device={DEVICE_ID}'")

    await expect_state(page, failure="device_offline")
    assert page.url.endswith("/")


async def test_signing_out_forgets_the_token(server: Relay, page_for: OpenPage) -> None:
    """After it, a reload asks for a token."""
    page = await page_for(server.port)
    await page.get_by_role("button", name="Sign out").click()
    await expect_state(page, state="signed_out", link="stopped")

    await page.reload()
    await expect_state(page, state="signed_out")
    await expect(page.get_by_role("alert")).to_be_hidden()


async def test_a_token_that_expires_leads_back_to_the_form(
    server: Relay, page_for: OpenPage
) -> None:
    """When the server ends the connection with the token, the page says what to do."""
    # Loading the page may take a busy machine a good part of a token's life that a test can await.
    page = await page_for(server.port, token=None)
    await expect_state(page, state="signed_out")
    await page.evaluate(f"location.hash = 'token={good_token(valid_for_s=3)}'")
    await expect_state(page, link="active")
    await expect(page.get_by_role("alert")).to_contain_text("expired")


# Choosing


async def test_it_lists_devices_with_their_presence(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Each device tells whether it is online and what it told about itself, kept up to date."""
    await grant(server, "attic", "garden")
    garden = await device_for(server.port, "garden")
    await garden.say(
        "device_presence",
        temperature=48.25,
        battery=85,
        camera="error",
        camera_problem="the cable is loose",
    )
    await device_for(server.port, "attic")
    page = await page_for(server.port)

    await expect(button_of(page, DEVICE_ID)).to_contain_text("Offline")
    await expect(button_of(page, "attic")).to_contain_text("Online")
    for text in ("48 °C", "battery 85 %", "camera fault: the cable is loose"):
        await expect(button_of(page, "garden")).to_contain_text(text)

    await garden.close()
    await page.clock.run_for(POLL_MS)
    await expect(button_of(page, "garden")).to_contain_text("just now")
    await expect(button_of(page, "garden")).to_contain_text("Offline since")


async def test_it_says_that_there_is_nothing_to_watch(server: Relay, page_for: OpenPage) -> None:
    """A viewer without devices is told whom to ask."""
    page = await page_for(server.port, token=good_token("stranger"))
    await expect(page.locator("#devices-note")).to_contain_text("There is no camera for you yet")


async def test_a_device_id_is_text_and_nothing_else(server: Relay, page_for: OpenPage) -> None:
    """Markup in a name is shown as it is."""
    name = "<img src=x onerror=alert(1)>"
    await grant(server, name)
    page = await page_for(server.port)
    await expect(button_of(page, name)).to_be_visible()
    await button_of(page, name).click()
    await expect(page.locator("#watch-title")).to_have_text(name)


async def test_the_only_online_device_is_watched_at_once(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """With one device online, nobody has to choose."""
    await grant(server, "attic")
    device = await device_for(server.port)
    page = await page_for(server.port)
    assert (await device.receive("watch_request"))["user_id"] == USER_ID
    await expect(page.locator("#watch-title")).to_have_text(DEVICE_ID)


async def test_after_the_end_nothing_starts_by_itself(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """End leads to the list, tells the device, and holds although one device is online."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    await device.receive("signal_offer")

    await page.get_by_role("button", name="End").click()

    assert (await device.receive("watch_ended"))["reason"] == "user_ended"
    await expect_state(page, state="choosing", watch_state="ended")
    for _ in range(2):
        # The second question shows that the page has read the answer to the first.
        async with page.expect_response("**/api/devices"):
            await page.clock.run_for(POLL_MS)
    await expect_state(page, state="choosing", watch_state="ended")
    assert len(await server.store.sessions()) == 1


async def test_leaving_the_page_ends_the_session(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """A page that goes away says so itself, so that the camera need not wait for a timeout."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    await device.receive("signal_offer")
    await page.goto("about:blank")
    assert (await device.receive("watch_ended"))["reason"] == "user_ended"


async def test_a_reload_goes_on_watching(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """The device that was wanted is wanted again, though the address bar no longer names it."""
    await grant(server, "attic")
    await device_for(server.port, "attic")
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    await device.receive("signal_offer")
    await page.reload()
    await device.receive("signal_offer")


# Failing


async def test_an_offline_device_is_waited_for(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """The page says that the device is offline, and watches as soon as it is back."""
    page = await page_for(server.port, device=DEVICE_ID)
    await expect_state(page, state="retrying", failure="device_offline")
    await expect(page.locator("[data-part=status-title]")).to_have_text("The camera is offline.")
    await expect(page.locator("[data-part=countdown]")).to_contain_text("Trying again")

    device = await device_for(server.port)
    await device.receive("signal_offer")
    await expect_state(page, watch_state="offer_sent")


@pytest.mark.parametrize(
    ("device_id", "failure", "sentence"),
    [
        ("nowhere", "device_not_found", "There is no camera called “nowhere”."),
        ("foreign", "unauthorized", "You may not watch this camera."),
    ],
)
async def test_what_only_a_person_can_mend_is_not_retried(
    server: Relay, page_for: OpenPage, device_id: str, failure: str, sentence: str
) -> None:
    """The page stops with a sentence and a button, asks no more, and the list is one key away."""
    await server.store.add_device("foreign")
    page = await page_for(server.port, device=device_id, before=NOTE_REQUESTS)
    await expect_state(page, state="stopped", failure=failure)
    await expect(page.locator("[data-part=status-title]")).to_have_text(sentence)
    await expect(page.locator("[data-part=countdown]")).to_be_empty()

    await page.clock.run_for(30_000)
    assert await page.evaluate("asked") == [device_id]
    await page.get_by_role("button", name="Try again").click()
    await eventually(lambda: page.evaluate("asked.length > 1"))
    await expect_state(page, state="stopped", failure=failure)
    assert await page.evaluate("asked") == [device_id, device_id]
    await page.keyboard.press("Escape")
    await expect_state(page, state="choosing")


async def test_a_right_that_was_granted_helps_at_the_next_try(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Try again asks the server anew."""
    device = await device_for(server.port)
    await server.store.revoke(USER_ID, DEVICE_ID)
    page = await page_for(server.port, device=DEVICE_ID)
    await expect_state(page, failure="unauthorized")
    await server.store.grant(USER_ID, DEVICE_ID)
    await page.get_by_role("button", name="Try again").click()
    await device.receive("signal_offer")


async def test_a_silent_device_has_a_deadline(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """After 15 s without an answer the page says so, ends that session and starts another."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    first = await device.receive("signal_offer")
    await expect_state(page, state="asking", watch_state="offer_sent")
    await expect(page.locator("[data-part=status-title]")).to_have_text("Asking the camera…")

    await page.clock.run_for(STAGE_DEADLINE_MS)

    title = page.locator("[data-part=status-title]")
    await expect(title).to_have_text("The camera did not answer within 15 seconds.")
    await expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert (await device.receive("watch_ended"))["session_id"] == first["session_id"]
    second = await device.receive("signal_offer")
    assert second["session_id"] != first["session_id"]


async def test_a_device_without_a_way_to_it_is_explained(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """A session that ICE cannot connect names what is missing: a TURN relay."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    async with AsyncExitStack() as stack:
        offer = await device.receive("signal_offer")
        lines = (await answer_to(offer, stack)).splitlines()
        without = [line for line in lines if not is_candidate(line)]
        await send_answer(device, offer["session_id"], without)
        await expect_state(page, watch_state="ice_gathering")
        await expect(page.locator("[data-part=status-title]")).to_have_text("Connecting…")
        await page.clock.run_for(PATH_DEADLINE_MS)

    await expect_state(page, failure="no_path_no_turn")
    await expect(page.locator("[data-part=status-advice]")).to_contain_text("no TURN relay")
    await expect(page.locator("[data-part=status-advice]")).to_contain_text("at the camera: none")


async def test_what_the_camera_found_is_told_in_short_and_in_full(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """A camera that gave up connecting is quoted with what to check; the rest is a click away."""
    found = (
        "ice did not finish within 15 s; this device had host, relay; the viewer had host, srflx"
    )
    check = "the relayed way does not work either; is the TURN server's relay range open?"
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID, viewport=PHONE)
    async with AsyncExitStack() as stack:
        offer = await device.receive("signal_offer")
        lines = (await answer_to(offer, stack)).splitlines()
        await send_answer(
            device, offer["session_id"], [one for one in lines if not is_candidate(one)]
        )
        await expect_state(page, watch_state="ice_gathering")
        await device.say(
            "watch_ended",
            session_id=offer["session_id"],
            reason="error",
            message=f"{found}; 2 pairs were tried: {check}",
        )
    await expect_state(page, state="retrying", failure="not_connected")
    title = page.locator("[data-part=status-title]")
    await expect(title).to_have_text("The connection to the camera did not come about.")
    await expect(page.locator("[data-part=status-advice]")).to_have_text(
        f"The camera says: {check}"
    )
    full = page.get_by_text(found)
    await expect(full).to_be_hidden()
    await page.get_by_text("Details").click()
    await expect(full).to_be_visible()
    assert await width_overflow_px(page) <= 0
    # It can be read in peace: the next attempt changes nothing here.
    await device.receive("signal_offer")
    await expect(full).to_be_visible()


async def test_another_network_starts_a_connection_anew(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Candidates of the old network lead nowhere: the page ends that session and offers new ones."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    first = await device.receive("signal_offer")
    await page.evaluate("() => { dispatchEvent(new Event('online')); }")
    ended = await device.receive("watch_ended")
    assert ended == {"session_id": first["session_id"], "reason": "user_ended"}
    await expect_state(page, failure="network_changed", watch_state="offer_sent")
    await expect(page.locator("[data-part=status-title]")).to_have_text("Your network has changed.")
    assert (await device.receive("signal_offer"))["session_id"] != first["session_id"]


async def test_who_is_offline_is_told_so(server: Relay, page_for: OpenPage) -> None:
    """Without a network the page says that, not what fails of it; with one it goes on by itself."""
    page = await page_for(server.port, device=DEVICE_ID)
    await expect_state(page, failure="device_offline")
    await page.context.set_offline(offline=True)
    await expect_state(page, network="offline")
    async with page.expect_event("requestfailed"):
        await page.clock.run_for(POLL_MS)
    await expect(page.locator("[data-part=status-title]")).to_have_text("You are offline.")
    await page.context.set_offline(offline=False)
    await expect(page.locator("[data-part=status-title]")).to_have_text("The camera is offline.")


async def test_an_answer_that_is_none_is_explained(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """An answer that the browser refuses ends in words, not in silence."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    session_id = (await device.receive("signal_offer"))["session_id"]
    await send_answer(device, session_id, ["v=0", "nonsense"])
    await expect_state(page, failure="bad_answer")
    await expect(page.locator("[data-part=status-title]")).to_contain_text(
        "This browser cannot use"
    )


async def test_it_says_why_a_session_ended(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Every reason has its sentence, followed by the camera's own words."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    for reason, state, sentence in (
        ("error", "retrying", "The camera cannot show a picture right now."),
        ("timeout", "retrying", "The session reached its time limit."),
        ("viewer_disconnected", "retrying", "The camera lost the connection to this browser."),
        ("device_disconnected", "retrying", "The camera lost its connection to the server."),
        ("user_ended", "stopped", "Somebody ended this session."),
    ):
        session_id = (await device.receive("signal_offer"))["session_id"]
        message = f"it is dark in here: {reason}"
        await device.say("watch_ended", session_id=session_id, reason=reason, message=message)

        await expect(page.locator("[data-part=status-advice]")).to_contain_text(message)
        await expect(page.locator("[data-part=status-title]")).to_have_text(sentence)
        await expect_state(page, state=state, failure=reason)
        await page.get_by_role("button", name="Try again").click()


async def test_an_end_in_the_middle_of_the_offer_keeps_its_reason(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """A camera that refuses before it saw an offer is quoted, whatever the page was doing then."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    session_id = (await device.receive("watch_request"))["session_id"]
    message = "this camera serves at most 1 viewer at once"
    await device.say("watch_ended", session_id=session_id, reason="error", message=message)
    await expect_state(page, failure="error")
    await expect(page.get_by_role("status").filter(has_text=message)).to_have_count(1)


async def test_a_device_that_drops_off_is_told(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """A link that breaks before the first picture ends the session at once."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    await device.receive("signal_offer")
    await page.evaluate(NOTE_TITLES)
    await device.close()

    # The next attempt comes soon, and has another title.
    async def was_told() -> bool:
        titles = await page.evaluate("window.titles")
        return "The camera lost its connection to the server." in titles

    await eventually(was_told)


@pytest.mark.parametrize(
    ("before", "failure", "sentence"),
    [
        ("delete window.RTCPeerConnection", "no_webrtc", "It has no WebRTC"),
        (
            "RTCRtpReceiver.getCapabilities = () => ({ codecs: [{ mimeType: 'video/VP8' }] })",
            "no_h264",
            "It lacks H.264.",
        ),
    ],
)
async def test_a_browser_that_cannot_is_told(
    server: Relay, page_for: OpenPage, before: str, failure: str, sentence: str
) -> None:
    """Without WebRTC or without H.264 the page says what to use instead."""
    page = await page_for(server.port, device=DEVICE_ID, before=before)
    await expect_state(page, state="stopped", failure=failure)
    await expect(page.locator("[data-part=status-advice]")).to_contain_text(sentence)


async def test_it_comes_back_after_the_relay(
    page_for: OpenPage, device_for: OpenDevice, tmp_path: Path
) -> None:
    """A relay that stops is told; when it is back, the page is, and asks for its device again."""
    async with relay(tmp_path) as first:
        port = first.port
        await device_for(port)
        page = await page_for(port, device=DEVICE_ID)
        await expect_state(page, watch_state="offer_sent")
    await expect_state(page, state="retrying", link="waiting")
    await expect(page.locator("[data-part=status-title]")).to_have_text(
        "The server cannot be reached."
    )

    async with running(relay_settings(tmp_path, port=port)):
        await page.get_by_role("button", name="Try again").click()
        await expect_state(page, link="active", failure="device_offline")
        device = await device_for(port)
        await device.receive("signal_offer")


# Pictures


async def test_candidates_may_overtake_the_answer(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Candidates that arrive first wait for the answer, and either end of them is understood."""
    device = await device_for(server.port)
    page = await page_for(server.port, device=DEVICE_ID)
    async with AsyncExitStack() as stack:
        offer = await device.receive("signal_offer")
        session_id = offer["session_id"]
        lines = (await answer_to(offer, stack)).splitlines()
        for line in [*filter(is_candidate, lines), "a="]:
            text = "" if line == "a=end-of-candidates" else line[2:]
            init = {"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0}
            await device.say("signal_ice", session_id=session_id, candidate=init)
        await device.say("signal_ice", session_id=session_id, candidate=None)
        await send_answer(device, session_id, [one for one in lines if not is_candidate(one)])

        await expect_state(page, state="live", watch_state="streaming", picture="moving")
        video = page.locator("video[data-shown]")
        assert int(await video.get_attribute("data-first-frame-ms") or 0) > 0
        await expect(page.locator("[data-part=figures]")).to_contain_text("640 \u00d7 480")
        await expect(page.locator("[data-part=figures]")).to_contain_text("direct")
        await expect(page.locator("[data-part=overlay]")).to_be_hidden()


# People


async def test_the_keyboard_is_enough(
    server: Relay, page_for: OpenPage, device_for: OpenDevice
) -> None:
    """Sign in, choose, end: all without a pointer, and the focus is never lost."""
    await grant(server, "attic")
    await device_for(server.port, "attic")
    device = await device_for(server.port)
    page = await page_for(server.port, token=None)
    await expect(page.get_by_label("Access token")).to_be_focused()
    await page.keyboard.insert_text(good_token())
    await page.keyboard.press("Enter")
    await expect(button_of(page, DEVICE_ID)).to_be_visible()

    await tab_to(page, button_of(page, DEVICE_ID))
    assert await outline_px(page) >= 2
    await page.keyboard.press("Enter")
    await device.receive("signal_offer")
    await expect(page.locator("#watch-title")).to_be_focused()

    await tab_to(page, page.get_by_role("button", name="End"))
    assert await outline_px(page) >= 2
    await page.keyboard.press("Escape")
    await expect_state(page, state="choosing")
    await expect(page.get_by_role("heading", name="Cameras")).to_be_focused()


async def test_a_phone_needs_no_sideways_scrolling(server: Relay, page_for: OpenPage) -> None:
    """Every view fits into 360 px, a long name and a long sentence included."""
    name = "the-camera-above-the-third-door-on-the-left-of-the-old-workshop"
    await grant(server, name)
    page = await page_for(server.port, token=None, viewport=PHONE)
    assert await width_overflow_px(page) <= 0
    await page.get_by_label("Access token").fill(good_token())
    await page.keyboard.press("Enter")
    await expect(button_of(page, name)).to_be_visible()
    assert await width_overflow_px(page) <= 0
    await button_of(page, name).click()
    await expect_state(page, failure="device_offline")
    assert await width_overflow_px(page) <= 0
    end = await page.get_by_role("button", name="End").bounding_box()
    assert end is not None
    assert end["height"] >= 44, "smaller than a finger"


async def test_texts_stand_out_from_their_background(server: Relay, page_for: OpenPage) -> None:
    """Light or dark, every colour of text has the contrast that WCAG 2.2 AA asks for, 4.5 to 1."""
    page = await page_for(server.port)
    await expect_state(page, state="choosing", link="active")
    pairs = [(text, under) for text in ("text", "muted") for under in ("background", "surface")]
    pairs += [("danger", "surface"), ("danger", "danger-surface"), ("good", "surface")]
    pairs += [("on-accent", "accent")]
    backgrounds = set()
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme)
        colours = await page.evaluate(
            """() => {
                const style = getComputedStyle(document.documentElement);
                const names = ['text', 'muted', 'danger', 'good', 'accent', 'on-accent',
                               'background', 'surface', 'danger-surface'];
                return Object.fromEntries(
                    names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
            }"""
        )
        for text, under in pairs:
            assert contrast(colours[text], colours[under]) >= 4.5, f"{scheme}: {text} on {under}"
        backgrounds.add(colours["background"])
    assert len(backgrounds) == 2


async def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until `target` has the focus."""
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"Tab does not reach {target}")


async def outline_px(page: Page) -> float:
    script = "() => parseFloat(getComputedStyle(document.activeElement).outlineWidth)"
    return float(await page.evaluate(script))


def contrast(one: str, other: str) -> float:
    """Compute the contrast ratio of two `#rrggbb` colours (WCAG 2.2)."""
    darker, lighter = sorted(_luminance(_channels(colour)) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def _channels(colour: str) -> Sequence[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def _luminance(channels: Sequence[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

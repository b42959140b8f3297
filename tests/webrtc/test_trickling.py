"""Candidates by name, of several networks and of both families, with Chromium and aiortc viewers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext

from camagent.media.frame import EncodedFrame
from camagent.signaling.messages import IceCandidate
from camagent.webrtc.interfaces import InterfaceFilter
from camagent.webrtc.packing import Packing
from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.sender import VideoSender
from camagent.webrtc.session import Session, SessionLimits
from tests import network as networks
from tests.chromium import chromium
from tests.conftest import missing
from tests.network import Network, NoNetwork, run
from tests.webrtc.browser_viewer import watched
from tests.webrtc.far_viewer import far_viewer
from tests.webrtc.reel import options_of, recorded, showing
from tests.webrtc.viewers import (
    Outbox,
    candidates_of,
    outcome,
    served,
    straight_from,
    without_candidates,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEAD_END = "192.168.99.1"
MOST_NAMES = 60
"""If each were waited for in turn, that would take a minute."""


async def frames() -> list[EncodedFrame]:
    return await recorded(options_of(320, 240), frames=30)


async def test_a_browser_may_tell_its_addresses(
    far_network: Network, far_browser: BrowserContext
) -> None:
    """Chromium without multicast DNS tells where it is."""
    async with showing(await frames()) as reel, watched(far_browser, reel) as one:
        await one.until_decoded(5)
        offer = await one.viewer.page.evaluate("window.peer.localDescription.sdp")

        assert f" {far_network.viewer.ipv4} " in offer
        assert (one.session.ledger.pair_type or "").startswith("host/")


async def test_a_browser_may_hide_its_addresses(
    far_network: Network, program: Callable[[str, str], str], tmp_path: Path
) -> None:
    """Chromium as it comes tells names only, and the picture comes all the same."""
    path = far_network.viewer.launcher(program("chromium", "chromium"), tmp_path)
    async with (
        chromium(str(path)) as browser,
        showing(await frames()) as reel,
        watched(await browser.new_context(), reel) as one,
    ):
        await one.until_decoded(5)
        offer = await one.viewer.page.evaluate("window.peer.localDescription.sdp")

        assert ".local " in offer
        assert str(far_network.viewer.ipv4) not in offer
        assert (one.session.ledger.pair_type or "").startswith("host/")


async def test_names_that_nobody_knows_delay_nothing(far_network: Network) -> None:
    """A viewer's addresses are used at once, whatever else it told before them."""
    outbox = Outbox()
    async with showing(await frames()) as reel, far_viewer(far_network.viewer) as viewer:
        session = Session(
            "s",
            ice_servers=(),
            options=PeerOptions(),
            limits=SessionLimits(connect_deadline_s=10.0),
            camera=reel,
            sender=VideoSender(Packing()),
            serve_frames=partial(straight_from, reel),
            send=outbox.send,
        )
        running = asyncio.ensure_future(outcome(session))
        offer = await viewer.offer()
        for number in range(MOST_NAMES):
            name = f"candidate:1 1 udp 1 nobody-{number}.local 5000 typ host"
            session.take_candidate(IceCandidate(candidate=name))
        # The viewer's own checks would find the way: it is told nothing to check.
        session.take_offer(without_candidates(offer))
        for candidate in candidates_of(offer):
            session.take_candidate(candidate)
        await viewer.accept(without_candidates(await outbox.answer()))
        assert await viewer.picture() == [320, 240]
        assert session.ledger.pair_type == "host/host"
        session.end("the test is over")
        await running


@pytest.fixture
async def two_interfaces(far_network: Network) -> AsyncIterator[None]:
    """Let the device have a second cable, which ends nowhere."""
    device = far_network.device
    await run(device.command("ip", "link", "add", "spare", "type", "veth", "peer", "name", "end"))
    lines = f"addr add {DEAD_END}/24 dev spare\nlink set spare up\nlink set end up\n"
    await run(device.command("ip", "-batch", "-"), text=lines)
    yield
    await run(device.command("ip", "link", "del", "spare"))


@pytest.mark.usefixtures("two_interfaces")
@pytest.mark.parametrize("excluded", [(), ("spa*",), ("192.168.99.0/24",)])
async def test_one_of_two_networks_leads_to_the_viewer(
    far_network: Network, excluded: tuple[str, ...]
) -> None:
    """The one that leads nowhere hurts nobody, and is not told if it is excluded."""
    options = PeerOptions(interfaces=InterfaceFilter(denied=excluded))
    async with (
        showing(await frames()) as reel,
        far_viewer(far_network.viewer) as viewer,
        served(viewer, reel, options=options) as one,
    ):
        assert await viewer.picture() == [320, 240]

    assert (DEAD_END in one.answer) == (not excluded)
    assert str(far_network.device.ipv4) in one.answer


async def test_ipv6_suffices() -> None:
    """Where there is no IPv4 at all, the picture comes."""
    try:
        async with networks.network(families=(6,)) as only_6:
            with only_6.device.entered():
                async with (
                    showing(await frames()) as reel,
                    far_viewer(only_6.viewer) as viewer,
                    served(viewer, reel) as one,
                ):
                    assert await viewer.picture() == [320, 240]
    except NoNetwork as error:
        missing(f"this machine has no network to test with: {error}")

    assert f" {only_6.device.ipv6} " in one.answer
    assert one.session.ledger.pair_type == "host/host"

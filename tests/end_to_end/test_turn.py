"""Through a real TURN server, with the credentials that the relay hands out."""

from collections.abc import Callable
from pathlib import Path

from playwright.async_api import Browser
from pydantic import SecretStr
from structlog.testing import capture_logs

from tests.coturn import coturn
from tests.end_to_end.house import agent, relay, watching
from tests.end_to_end.readout import Readout
from tests.support import until

TURN_SECRET = "shared with the TURN server"


async def test_video_flows_through_turn(
    browser: Browser, program: Callable[[str, str], str], own_address: str, tmp_path: Path
) -> None:
    """A device that may only be relayed shows its picture, and its log says how it went."""
    turnserver = program("turnserver", "coturn")
    async with coturn(turnserver, own_address, TURN_SECRET, tmp_path) as url:
        changes = {"turn_urls": (url,), "turn_secret": SecretStr(TURN_SECRET)}
        with capture_logs() as logs:
            async with (
                relay(tmp_path, **changes) as server,
                agent(server.port, ice_transport_policy="relay") as camera,
            ):
                async with watching(browser, own_address, server.port) as person:
                    await person.until_first_frame()
                    await person.until_it_moves()
                    readout = Readout(person)
                    await readout.show()
                    path = await readout.text("path")
                await until(lambda: camera.registry.viewer_count == 0)
                await until(lambda: any(line["event"] == "session.closed" for line in logs))

    line = next(line for line in logs if line["event"] == "session.closed")
    assert line["pair"].startswith("relay/")
    assert path.startswith("relayed (")
    assert TURN_SECRET not in repr(logs)


async def test_a_relayed_device_hides_its_address(
    browser: Browser, own_address: str, tmp_path: Path
) -> None:
    """Without a TURN server a device that may only be relayed tells no address, and fails clearly."""
    with capture_logs() as logs:
        async with (
            relay(tmp_path) as server,
            agent(server.port, ice_transport_policy="relay"),
            watching(browser, own_address, server.port) as person,
        ):
            await until(
                lambda: any(line["event"] == "session.closed" for line in logs), deadline_s=40
            )
            await person.until("failure", "not_connected")
            await person.page.get_by_text("Details").click()
            assert "this device had no candidate" in await person.text()

    line = next(line for line in logs if line["event"] == "session.closed")
    assert line["outcome"] == "ConnectFailed"

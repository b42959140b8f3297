"""The whole way on a Raspberry Pi: the real picamera2, the agent, the relay, and Chromium."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from server_stub.app import running
from server_stub.auth import make_token
from server_stub.settings import RelaySettings
from tests.chromium import chromium
from tests.rig.conftest import Rig
from tests.support import until

pytestmark = pytest.mark.rig

SECRET = "a secret of a throw-away relay, long enough"
_DEADLINE_MS = 60_000


@pytest.mark.parametrize(("platform", "encoder"), [("vc4", "chip"), ("pisp", "software")])
async def test_chromium_sees_the_cameras_picture(
    rig: Rig, tmp_path: Path, own_address: str, platform: str, encoder: str
) -> None:
    """Video from the Pi camera moves in a browser outside, with either encoder."""
    rig.install_agent()
    settings = RelaySettings(
        jwt_secret=SecretStr(SECRET),
        host="0.0.0.0",  # noqa: S104 - the browser comes by this machine's own address
        port=0,
        database_url=SecretStr(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}"),
        _env_file=None,
    )
    async with running(settings) as relay, chromium() as browser:
        await relay.store.add_device("pi")
        await relay.store.grant("user", "pi")
        options = ["--device-id=pi", f"--server-url=ws://127.0.0.1:{relay.port}"]
        log = rig.folder / "agent.log"
        with rig.agent(*options, "--log-level=debug", platform=platform) as agent:
            await until(lambda: "pi" in relay.devices or not agent.is_running(), deadline_s=60)
            assert "pi" in relay.devices, log.read_text()
            page = await browser.new_page()
            token = make_token(SECRET, "user", 600)
            await page.goto(f"http://{own_address}:{relay.port}/#token={token}&device=pi")
            video = page.locator("video[data-first-frame-ms]").first
            await video.wait_for(state="attached", timeout=_DEADLINE_MS)
            before = await video.evaluate(
                "video => video.getVideoPlaybackQuality().totalVideoFrames"
            )
            shots = [await video.screenshot()]
            await page.wait_for_timeout(1000)
            shots.append(await video.screenshot())
            after = await video.evaluate(
                "video => video.getVideoPlaybackQuality().totalVideoFrames"
            )
            size = await video.evaluate("video => [video.videoWidth, video.videoHeight]")
            await page.close()
        used_chip = (rig.folder / "video11.log").exists()

    assert size == [1280, 720]
    assert after - before >= 15
    assert shots[0] != shots[1]
    assert used_chip == (encoder == "chip")
    assert "session.closed" in log.read_text()

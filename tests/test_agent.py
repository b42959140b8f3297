"""The agent in one piece, in this process, against a server that follows a script."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import structlog
from structlog.testing import capture_logs

from camagent import __version__
from camagent.agent import Agent
from camagent.camera_settings import CameraSettings
from camagent.errors import CameraError, CameraHung, SettingsError
from camagent.media.capture import CaptureState
from camagent.media.container import ContainerSource
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import EncodedFrame, Encoding, Stream
from camagent.media.picamera import PiCamera, pi_camera_problem
from camagent.media.synthetic import SyntheticSource
from camagent.notify import Notifier
from camagent.privacy import InUseLight
from camagent.settings import Settings, VideoSettings
from camagent.signaling.messages import WATCH_ENDED, DeviceWatchRequest
from camagent.status import find_status
from camagent.wiring import (
    camera_wishes,
    choose_source,
    interface_filter,
    link_options,
    open_deadline_s,
)
from tests.signaling.conftest import ScriptedServer
from tests.support import DEADLINE_S, until

SMALL = {"source": "synthetic", "width_px": 160, "height_px": 120, "frames_per_second": 10}


@pytest.fixture(autouse=True)
def _no_context_left() -> Iterator[None]:
    yield
    structlog.contextvars.clear_contextvars()


def settings(url: str, *, video: dict[str, Any] | None = None, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "device_id": "cam",
        "server_url": url,
        "first_retry_delay_s": 0.05,
        "longest_retry_delay_s": 0.1,
        "video": VideoSettings.model_validate(SMALL | (video or {})),
        "_env_file": None,
    }
    return Settings(**(values | changes))


@asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[None]:
    """Run the agent beside the block and stop it as a signal would; its failure is the test's."""
    async with asyncio.timeout(2 * DEADLINE_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(agent.run())
        yield
        agent.stop()


@asynccontextmanager
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    async with scripted.listening():
        yield scripted


def is_drawing() -> bool:
    return "test picture" in {thread.name for thread in threading.enumerate()}


async def test_it_says_hello_and_how_it_is() -> None:
    """The hello names the device; the first report tells an idle camera that nobody watches."""
    async with server() as relay, running(Agent(settings(relay.url))):
        device = await relay.accepted()
        assert (await device.welcome())["payload"] == {"device_id": "cam"}
        report = (await device.receive("device_presence"))["payload"]

    told = {name: report[name] for name in ("camera", "viewers", "recording", "agent_version")}
    assert told == {
        "camera": "idle",
        "viewers": 0,
        "recording": False,
        "agent_version": __version__,
    }


async def test_the_camera_stays_off_while_nobody_watches() -> None:
    """Neither start, hello nor report opens it."""
    with capture_logs() as events:
        async with server() as relay:
            agent = Agent(settings(relay.url))
            async with running(agent):
                device = await relay.accepted()
                await device.welcome()
                await device.receive("device_presence")
                assert agent.capture.state is CaptureState.IDLE

    names = {event["event"] for event in events}
    assert "agent.started" in names
    assert not {name for name in names if name.startswith("capture.")}


async def test_an_always_on_camera_runs_without_viewers() -> None:
    """Who wants the camera warm gets it, and the server is told as soon as it is."""
    async with server() as relay:
        agent = Agent(settings(relay.url, video={"always_on": True}))
        async with running(agent):
            device = await relay.accepted()
            await device.welcome()
            while (await device.receive("device_presence"))["payload"]["camera"] != "live":
                pass
            assert agent.capture.state is CaptureState.LIVE


async def test_a_stop_tells_the_server_and_closes_the_camera() -> None:
    """The server hears 1001, and nothing of the camera is left."""
    async with server() as relay:
        agent = Agent(settings(relay.url, video={"always_on": True}))
        async with running(agent):
            device = await relay.accepted()
            await device.welcome()
            await until(lambda: agent.capture.state is CaptureState.LIVE)
            assert is_drawing()
        await device.websocket.wait_closed()

    assert device.websocket.close_code == 1001
    assert not is_drawing()


async def test_a_stop_before_any_server_answers_is_a_stop() -> None:
    """Waiting for the next attempt is no reason to stay."""
    async with server() as relay:
        url = relay.url
    with capture_logs() as events:
        async with running(Agent(settings(url, longest_retry_delay_s=3600))):
            await until(lambda: "link.lost" in {event["event"] for event in events})

    assert events[-1]["event"] == "agent.stopped"


async def test_a_camera_that_cannot_open_is_told_to_the_server(tmp_path: Path) -> None:
    """The report says in words what is wrong, and the link is none the worse."""
    video = {"source": "container", "url": str(tmp_path / "none.mp4"), "always_on": True}
    async with server() as relay, running(Agent(settings(relay.url, video=video))):
        device = await relay.accepted()
        await device.welcome()
        while (report := (await device.receive("device_presence"))["payload"])["camera"] != "error":
            pass

    assert "none.mp4" in report["camera_problem"]


class HungCamera:
    """A camera whose own code never comes back."""

    name = "hung"

    @contextmanager
    def opened(self, _publish: Callable[[EncodedFrame], None]) -> Iterator[Encoding]:
        raise CameraHung("the camera's code does not come back")
        yield


async def test_a_part_that_fails_ends_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a new process helps against a hung camera: the error comes out, the server is told."""
    monkeypatch.setattr("camagent.agent.choose_source", lambda _video, _camera, **_: HungCamera())
    async with server() as relay:
        agent = Agent(settings(relay.url, video={"always_on": True}))
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.timeout(DEADLINE_S):
                await agent.run()

    assert caught.group_contains(CameraHung)


@pytest.mark.parametrize(
    ("video", "kind"),
    [
        ({"source": "synthetic"}, SyntheticSource),
        ({"source": "container", "url": "/dev/video0"}, ContainerSource),
        ({"source": "picamera"}, PiCamera),
    ],
)
def test_the_source_is_the_one_that_was_asked_for(video: dict[str, Any], kind: type) -> None:
    """Choosing opens nothing, so every source can be chosen anywhere."""
    chosen = choose_source(VideoSettings.model_validate(video), CameraSettings())
    assert isinstance(chosen, kind)


def test_every_wish_is_handed_on_with_its_name() -> None:
    """What may be set is what may be wished, and refusals can call all of it by its name."""
    given = CameraSettings(id="1", zoom=2.5, tuning_file=Path(__file__))
    wishes = camera_wishes(given)

    assert asdict(wishes) == given.model_dump(mode="json") | {"names": dict(wishes.names)}
    assert wishes.told("zoom", wishes.zoom) == "CAMAGENT_CAMERA__ZOOM=2.5"
    assert wishes.told("width_px", 1280) == "CAMAGENT_VIDEO__WIDTH_PX=1280"


class ShyCamera(PiCamera):
    """A Pi camera that notes when it is opened, and does not let that happen."""

    def __init__(self) -> None:
        super().__init__(
            EncoderOptions(
                width_px=160,
                height_px=120,
                frames_per_second=10,
                bitrate_bps=100_000,
                keyframe_interval_s=10,
            )
        )
        self.was_opened = asyncio.Event()

    @contextmanager
    def opened(self, _publish: Callable[[EncodedFrame], None]) -> Iterator[Stream]:
        self.was_opened.set()
        raise CameraError("it is shy")
        yield


async def test_the_camera_is_not_opened_while_another_process_looks_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both would find it busy; whoever wants a picture has it once the look is over."""
    camera, is_over, asked = ShyCamera(), asyncio.Event(), asyncio.Event()

    async def look(_camera: PiCamera, *, may_open: bool) -> None:
        assert may_open
        asked.set()
        await is_over.wait()

    monkeypatch.setattr("camagent.agent.choose_source", lambda _video, _camera, **_: camera)
    monkeypatch.setattr("camagent.agent.find_pi_camera", look)
    async with server() as relay:
        agent = Agent(settings(relay.url))
        async with running(agent):
            with agent.capture.watched():
                await asked.wait()
                await (await relay.accepted()).welcome()
                assert not camera.was_opened.is_set()
                is_over.set()
                async with asyncio.timeout(DEADLINE_S):
                    await camera.was_opened.wait()


@pytest.mark.parametrize(
    ("video", "deadline_s"),
    [
        ({"source": "container", "url": "rtsp://camera.lan/live"}, 40),
        ({"source": "container", "url": "/dev/video0"}, 10),
        ({"source": "picamera"}, 10),
    ],
)
def test_only_network_cameras_may_take_long_to_open(
    video: dict[str, Any], deadline_s: float
) -> None:
    """Longer than all of FFmpeg's own deadlines together; a stuck driver is known sooner."""
    assert open_deadline_s(VideoSettings.model_validate(video)) == deadline_s


def test_auto_without_a_pi_camera_is_a_setting_to_change() -> None:
    """One sentence names the setting, the reason and both ways out."""
    if pi_camera_problem() is None:
        pytest.skip("this machine has a Pi camera")
    with pytest.raises(SettingsError) as caught:
        Agent(settings("ws://127.0.0.1:1", video={"source": "auto"}))

    (problem,) = caught.value.problems
    assert problem.startswith("CAMAGENT_VIDEO__SOURCE=auto: ")
    assert "container" in problem
    assert "synthetic" in problem


@pytest.mark.parametrize(
    ("name", "is_taken"), [("eth0", True), ("docker0", False), ("br-1a2b", False), ("br0", True)]
)
def test_by_default_containers_networks_are_left_out(name: str, is_taken: bool) -> None:
    """No viewer is there."""
    chosen = interface_filter(settings("ws://a"))
    assert chosen.takes(name, ipaddress.ip_address("192.168.1.2")) is is_taken


def test_only_wss_takes_certificates() -> None:
    """A plain WebSocket has no TLS to set up."""
    assert link_options(settings("ws://a")).tls is None
    assert link_options(settings("wss://a")).tls is not None


def test_the_link_gets_the_token_and_never_shows_it() -> None:
    """The token is for the handshake's header, not for a log line."""
    options = link_options(settings("ws://a", device_token="top-secret"))

    assert options.device_token == "top-secret"
    assert "top-secret" not in repr(options)


async def test_a_kill_switch_takes_the_camera_away_and_gives_it_back(tmp_path: Path) -> None:
    """While the file lies there the camera is closed and reported off, even one that is always on."""
    file = tmp_path / "camera-off"
    file.touch()
    async with server() as relay:
        video = {"always_on": True}
        agent = Agent(settings(relay.url, video=video, kill_switch_file=str(file)))
        async with running(agent):
            device = await relay.accepted()
            await device.welcome([WATCH_ENDED])
            assert (await device.receive("device_presence"))["payload"]["camera"] == "off"
            request = DeviceWatchRequest.Payload(session_id="s", user_id="u")
            await device.send(DeviceWatchRequest(payload=request))
            refused = (await device.receive("watch_ended"))["payload"]
            assert agent.capture.state is CaptureState.IDLE
            assert not is_drawing()
            file.unlink()
            await until(lambda: agent.capture.state is CaptureState.LIVE)
            file.touch()
            await until(lambda: agent.capture.state is CaptureState.IDLE)

    assert refused["message"] == "this camera is switched off where it stands"


async def test_the_light_is_lit_while_the_camera_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From before the first picture until after the last, and never after the agent."""
    led = tmp_path / "ACT"
    led.mkdir()
    for name, value in (("brightness", "7"), ("max_brightness", "1"), ("trigger", "mmc0")):
        (led / name).write_text(value)
    monkeypatch.setattr("camagent.agent.InUseLight", partial(InUseLight, leds=tmp_path))
    async with server() as relay:
        agent = Agent(settings(relay.url, in_use_led="ACT"))
        async with running(agent):
            await until(lambda: (led / "brightness").read_text() == "0")
            with agent.capture.watched():
                await until(lambda: (led / "brightness").read_text() == "1")
        assert (led / "brightness").read_text() == "0"


async def test_systemd_hears_that_it_is_ready_although_no_server_is(tmp_path: Path) -> None:
    """A server that cannot be reached is no failed start; the status says what is the matter."""
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(tmp_path / "notify"))
    heard.settimeout(DEADLINE_S)
    async with server() as relay:
        url = relay.url
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"})
    agent = Agent(settings(url), notifier=notifier, runtime_folder=tmp_path)
    told: set[str] = set()
    async with running(agent):
        while not ({"READY=1", "WATCHDOG=1"} <= told and any("offline" in one for one in told)):
            told.add((await asyncio.to_thread(heard.recv, 4096)).decode())
        status = find_status("cam", run=tmp_path.parent)
    while "STOPPING=1" not in told:
        told.add(heard.recv(4096).decode())
    heard.close()

    assert status is None or not status.is_online
    assert any(one.startswith("STATUS=offline, retrying: ") for one in told)


async def test_metrics_are_served_where_they_are_asked_for() -> None:
    """The agent's own figures can be scraped while it runs, and not any more afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def read() -> str:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    async with server() as relay, running(Agent(settings(relay.url, metrics_port=port))):
        await (await relay.accepted()).welcome()
        async with asyncio.timeout(DEADLINE_S):
            while "camagent_online 1.0" not in await asyncio.to_thread(read):
                pass
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(read)


async def test_a_camera_that_was_at_fault_is_reported_well_once_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process looks again while nobody watches, and nothing has to be opened for it."""
    camera, is_fine = ShyCamera(), False

    async def look(_camera: PiCamera, *, may_open: bool) -> None:
        assert may_open
        if not is_fine:
            raise CameraError("somebody else has it")

    monkeypatch.setattr("camagent.agent.choose_source", lambda _video, _camera, **_: camera)
    monkeypatch.setattr("camagent.agent.find_pi_camera", look)
    monkeypatch.setattr("camagent.agent._LOOK_INTERVAL_S", 0.05)
    async with server() as relay, running(Agent(settings(relay.url))):
        device = await relay.accepted()
        await device.welcome()
        while (report := (await device.receive("device_presence"))["payload"])["camera"] != "error":
            pass
        assert report["camera_problem"] == "somebody else has it"
        is_fine = True
        while (report := (await device.receive("device_presence"))["payload"])["camera"] != "idle":
            pass

    assert "camera_problem" not in report
    assert not camera.was_opened.is_set()

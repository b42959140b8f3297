"""What Prometheus reads, over real HTTP."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from camagent.errors import SettingsError
from camagent.metrics import Figures, served
from tests.network import Namespace, Network, run
from tests.support import eventually, until

FIGURES = Figures(
    is_online=True,
    connections=3,
    viewers=2,
    sessions_ended={"SessionEnded": 5, "ViewerLost": 1},
    sent_frames=600,
    sent_bytes=1_000_000,
    dropped_frames=7,
    encoded_frames=300,
    encoded_bytes=500_000,
    keyframes_forced=9,
    camera_is_open=True,
    camera_restarts=4,
    temperature=52.5,
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def scrape(port: int, host: str = "127.0.0.1") -> dict[str, float]:
    """Read every sample by its name and labels, as a scraper would."""

    def read() -> str:
        with urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(read)
    return {
        sample.name + "".join(f"/{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_every_figure_can_be_scraped() -> None:
    """Gauges and counters carry their values, and the process tells of itself as well."""
    port = free_port()
    async with served("127.0.0.1", port, lambda: FIGURES):
        found = await scrape(port)

    ours = {name: value for name, value in found.items() if name.startswith("camagent_")}
    assert ours == {
        "camagent_online": 1,
        "camagent_viewers": 2,
        "camagent_camera_open": 1,
        "camagent_temperature_celsius": 52.5,
        "camagent_connections_total": 3,
        "camagent_camera_restarts_total": 4,
        "camagent_encoded_frames_total": 300,
        "camagent_encoded_bytes_total": 500_000,
        "camagent_forced_keyframes_total": 9,
        "camagent_sent_frames_total": 600,
        "camagent_sent_bytes_total": 1_000_000,
        "camagent_dropped_frames_total": 7,
        "camagent_sessions_total/SessionEnded": 5,
        "camagent_sessions_total/ViewerLost": 1,
    }
    assert found["process_resident_memory_bytes"] > 1e6


async def test_figures_are_asked_for_each_time_and_on_the_loop() -> None:
    """What changed since the last time is seen, and a machine without a sensor leaves it out."""
    port = free_port()
    loop = asyncio.get_running_loop()
    viewers = iter((1, 2))

    def figures() -> Figures:
        assert asyncio.get_running_loop() is loop
        return replace(FIGURES, viewers=next(viewers), temperature=None)

    async with served("127.0.0.1", port, figures):
        first, second = await scrape(port), await scrape(port)

    assert (first["camagent_viewers"], second["camagent_viewers"]) == (1, 2)
    assert "camagent_temperature_celsius" not in first


async def test_a_port_that_is_taken_is_a_wrong_setting() -> None:
    """The start stops with the setting's name, and the port is free again after the block."""
    port = free_port()
    async with served("127.0.0.1", port, lambda: FIGURES):
        with pytest.raises(SettingsError, match=f"CAMAGENT_METRICS_PORT={port}: cannot listen"):
            async with served("127.0.0.1", port, lambda: FIGURES):
                pass
    async with served("127.0.0.1", port, lambda: FIGURES):
        assert (await scrape(port))["camagent_online"] == 1


@pytest.fixture
def unborn(network: Network) -> Iterator[Namespace]:
    """Give a network that has no address yet, or skip."""
    made = Namespace(9, (4,))
    yield made
    made.close()


async def test_an_address_that_comes_late_is_waited_for(unborn: Namespace) -> None:
    """What the machine does not have yet costs nothing but the metrics; then they are served."""
    port = free_port()

    async def is_scraped() -> bool:
        try:
            return (await scrape(port, "[::1]"))["camagent_online"] == 1
        except OSError:
            return False

    with unborn.entered(), capture_logs() as events:
        async with served("::1", port, lambda: FIGURES, retry_delay_s=0.05):
            assert not await is_scraped()
            await run(unborn.command("ip", "link", "set", "lo", "up"))
            await eventually(is_scraped)
        assert not await is_scraped()

    assert {event["event"] for event in events} == {"metrics.not_served"}
    assert {event["cause"] for event in events} == {"Cannot assign requested address"}


async def test_a_name_that_is_not_found_does_not_hold_up_the_end() -> None:
    """It is looked up again later; who stops meanwhile does not wait for that."""
    with capture_logs() as events:
        async with served("no-such-host.invalid", free_port(), lambda: FIGURES, retry_delay_s=3600):
            await until(lambda: events)

    (event,) = events
    assert (event["event"], event["log_level"]) == ("metrics.not_served", "warning")


async def test_what_can_be_no_name_is_a_wrong_setting() -> None:
    """No later look would find it."""
    with pytest.raises(SettingsError, match=r"CAMAGENT_METRICS_HOST=pi\.\.lan: "):
        async with served("pi..lan", free_port(), lambda: FIGURES):
            pass

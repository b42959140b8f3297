"""What Prometheus reads, over real HTTP."""

import asyncio
import socket
from dataclasses import replace
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from camagent.errors import SettingsError
from camagent.metrics import Figures, served

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


async def scrape(port: int) -> dict[str, float]:
    """Read every sample by its name and labels, as a scraper would."""

    def read() -> str:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
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

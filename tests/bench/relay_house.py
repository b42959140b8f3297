"""A relay as a program of its own, held to one core, beside a bare echo with the same models."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support import DEADLINE_S

SECRET = "a secret of a throw-away relay, long enough"
USER = "user"
_SERVER_CORE = 0
_LOAD_CORE = 1
_UNIT = Path(__file__).parents[2] / "systemd/camagent-relay.service"
_UNHINDERED = {
    "CAMAGENT_RELAY_JWT_SECRET": SECRET,
    "CAMAGENT_RELAY_HOST": "127.0.0.1",
    "CAMAGENT_RELAY_LOG_LEVEL": "warning",
    "CAMAGENT_RELAY_MESSAGES_PER_SECOND": "1000000",
    "CAMAGENT_RELAY_MESSAGES_AT_ONCE": "1000000",
    "CAMAGENT_RELAY_SESSIONS_PER_USER": "0",
    "CAMAGENT_RELAY_WATCH_REQUESTS_PER_MINUTE": "0",
}


@dataclass
class House:
    """Where relays keep their devices; `device_ids` may all be watched by `USER`."""

    folder: Path
    device_ids: list[str]
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Give the settings of its relays."""
        url = f"sqlite+aiosqlite:///{self.folder / 'relay.db'}"
        own = _UNHINDERED | {"CAMAGENT_RELAY_DATABASE_URL": url} | self.settings
        return os.environ | environment_of_unit() | own

    def command(self, *arguments: str) -> None:
        """Have one command of the relay carried out."""
        subprocess.run(
            [sys.executable, "-m", "server_stub", *arguments], env=self.environment(), check=True
        )


def environment_of_unit() -> dict[str, str]:
    """Read what systemd starts a relay with."""
    lines = _UNIT.read_text().splitlines()
    given = [line.removeprefix("Environment=") for line in lines if line.startswith("Environment=")]
    return dict(pair.split("=", 1) for line in given for pair in line.split())


@contextmanager
def house(devices: int) -> Iterator[House]:
    """Hold a database with as many devices."""
    with tempfile.TemporaryDirectory() as folder:
        held = House(Path(folder), [f"cam-{number}" for number in range(devices)])
        held.command("device", "list")
        with contextlib.closing(sqlite3.connect(held.folder / "relay.db")) as database:
            database.executemany(
                "INSERT INTO devices (device_id, created_at, needs_token) "
                "VALUES (?, '2025-01-01 00:00:00', 0)",
                [(name,) for name in held.device_ids],
            )
            database.executemany(
                "INSERT INTO grants (user_id, device_id) VALUES (?, ?)",
                [(USER, name) for name in held.device_ids],
            )
            database.commit()
        yield held


@dataclass(frozen=True)
class Server:
    """A running server and where it listens."""

    process: "subprocess.Popen[bytes]"
    port: int

    @property
    def cpu_s(self) -> float:
        """Processor time taken until now."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    @property
    def resident_bytes(self) -> int:
        """Memory held now."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


def relay_command(port: int) -> list[str]:
    """Give the command that serves a relay."""
    return [sys.executable, "-m", "server_stub", "serve", "--port", str(port)]


def echo_command(port: int) -> list[str]:
    """Give the command that serves the bare echo."""
    return [sys.executable, "-m", "tests.bench.relay_echo", str(port)]


def start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start a server on the server's core."""
    return subprocess.Popen(["taskset", "--cpu-list", str(_SERVER_CORE), *command], env=environment)


@asynccontextmanager
async def serving(
    command: list[str], environment: dict[str, str], port: int
) -> AsyncIterator[Server]:
    """Run a server while the block runs."""
    process = start(command, environment)
    try:
        await answers(port)
        yield Server(process, port)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def answers(port: int) -> None:
    """Wait until somebody listens on `port`."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return


def free_port() -> int:
    """Find a port that nobody listens on."""
    import socket  # noqa: PLC0415 - only here

    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def take_the_other_core() -> None:
    """Keep this process off the server's core."""
    os.sched_setaffinity(0, {_LOAD_CORE % (os.cpu_count() or 1)})


@asynccontextmanager
async def redis() -> AsyncIterator[str]:
    """Run Redis on the load's core, kept in memory only; give its URL."""
    program = shutil.which("redis-server")
    assert program, "redis-server is missing"
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(  # noqa: ASYNC220 - there is nothing else to do meanwhile
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            await answers(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)

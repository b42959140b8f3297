"""A real TURN server for tests."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support import eventually


@asynccontextmanager
async def coturn(turnserver: str, address: str, secret: str, folder: Path) -> AsyncIterator[str]:
    """Hold a coturn that checks time-limited credentials; give its URL."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    options = {
        "listening-ip": address,
        "relay-ip": address,
        "listening-port": port,
        "realm": "test",
        "static-auth-secret": secret,
        "pidfile": folder / "coturn.pid",
        "userdb": folder / "coturn.db",
        "log-file": folder / "coturn.log",
    }
    switches = ["-n", "--use-auth-secret", "--no-tls", "--no-dtls", "--no-cli", "--simple-log"]
    process = await asyncio.create_subprocess_exec(
        turnserver,
        *switches,
        *(f"--{name}={value}" for name, value in options.items()),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def listens() -> bool:
        assert process.returncode is None, (folder / "coturn.log").read_text()
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    try:
        await eventually(listens)
        yield f"turn:{address}:{port}?transport=udp"
    finally:
        process.terminate()
        await process.wait()

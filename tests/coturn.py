"""A real TURN server for tests."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

from camagent.signaling.messages import IceServer
from server_stub.turn import IceServers, credential_for
from tests.support import eventually

SWITCHES = ("-n", "--use-auth-secret", "--no-dtls", "--no-cli", "--simple-log")


@dataclass(frozen=True)
class Coturn:
    """A coturn that checks time-limited credentials.

    Attributes:
        tls_port: where it speaks TLS, with a certificate for its address; None for nowhere.
    """

    process: asyncio.subprocess.Process
    address: str
    port: int
    tls_port: int | None
    secret: str

    def url(self, transport: str = "udp") -> str:
        """Give the URL of a transport: `udp`, `tcp`, or `tls`."""
        if transport == "tls":
            return f"turns:{self.address}:{self.tls_port}?transport=tcp"
        return f"turn:{self.address}:{self.port}?transport={transport}"

    @property
    def stun(self) -> IceServer:
        """It tells everybody's address."""
        return IceServer(urls=f"stun:{self.address}:{self.port}")

    def turn(self, *transports: str) -> IceServer:
        """Name it with a credential as the relay makes them."""
        urls = tuple(self.url(transport) for transport in transports)
        servers = IceServers(turn_urls=urls, secret=self.secret, valid_for_s=600)
        return servers.for_device("cam", now_s=int(time.time()))[0]

    def expired(self, *transports: str) -> IceServer:
        """Name it with a credential of long ago."""
        username = "1000000000:device_cam"
        urls = [self.url(transport) for transport in transports]
        credential = credential_for(username, self.secret)
        return IceServer(urls=urls, username=username, credential=credential)

    async def kill(self) -> None:
        """Kill it; whoever was relayed is not told."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def running_coturn(
    command: Sequence[str],
    *,
    address: str,
    port: int,
    secret: str,
    folder: Path,
    tls: tuple[int, trustme.LeafCert] | None = None,
) -> AsyncIterator[Coturn]:
    """Hold what `command` starts; `tls` is a port and the certificate that is shown there."""
    log = folder / "coturn.log"
    options: dict[str, object] = {
        "listening-ip": address,
        "relay-ip": address,
        "listening-port": port,
        "realm": "test",
        "static-auth-secret": secret,
        "pidfile": folder / "coturn.pid",
        "userdb": folder / "coturn.db",
        "log-file": log,
    }
    switches = list(SWITCHES)
    if tls is None:
        switches.append("--no-tls")
    else:
        tls_port, certificate = tls
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "coturn.pem")
        options |= {"tls-listening-port": tls_port, "cert": folder / "coturn.pem"}
        options["pkey"] = options["cert"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *switches,
        *(f"--{name}={value}" for name, value in options.items()),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def listens() -> bool:
        assert process.returncode is None, log.read_text()
        return await _accepts(address, port) and (tls is None or await _accepts(address, tls[0]))

    try:
        await eventually(listens)
        yield Coturn(process, address, port, tls and tls[0], secret)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def coturn(turnserver: str, address: str, secret: str, folder: Path) -> AsyncIterator[str]:
    """Hold a coturn on this machine; give its URL."""
    (port,) = free_ports(address, 1)
    async with running_coturn(
        [turnserver], address=address, port=port, secret=secret, folder=folder
    ) as server:
        yield server.url()


def free_ports(address: str, count: int) -> list[int]:
    """Find ports that are free for both UDP and TCP: a coturn that lacks one of them goes on."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            tcp = held.enter_context(socket.socket())
            tcp.bind((address, 0))
            port = int(tcp.getsockname()[1])
            udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with suppress(OSError):
                udp.bind((address, port))
                ports.append(port)
        return ports


async def _accepts(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True

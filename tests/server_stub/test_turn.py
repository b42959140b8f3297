"""The TURN credentials that the relay hands out, tried at a real coturn."""

import asyncio
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aioice import turn
from aioice.stun import TransactionFailed
from pydantic import SecretStr

from camagent.signaling.messages import IceServer
from server_stub.turn import IceServers, credential_for
from tests.server_stub.peers import device, relay_at, viewer

Program = Callable[[str, str], str]
SHARED = "shared with coturn"
URLS = ("turn:turn.example.com:3478?transport=udp", "turn:turn.example.com:3478?transport=tcp")


def servers(*, valid_for_s: float = 600.0, secret: str | None = SHARED) -> IceServers:
    return IceServers(
        stun_urls=("stun:stun.example.com:3478",),
        turn_urls=URLS,
        secret=secret,
        valid_for_s=valid_for_s,
    )


def test_credentials_are_as_the_draft_has_them() -> None:
    """The username starts with its expiry; the credential is base64 of HMAC-SHA1."""
    stun, relayed = servers().for_device("s1", now_s=1735739400.9)
    assert stun == IceServer(urls="stun:stun.example.com:3478")
    assert relayed.urls == URLS
    assert relayed.username == "1735740000:device_s1"
    assert relayed.credential == credential_for("1735740000:device_s1", SHARED)
    assert relayed.credentialType == "password"
    assert servers().for_viewer("u", "s1", now_s=0)[1].username == "600:viewer_u_s1"
    # Computed with: printf %s 1:x | openssl dgst -sha1 -hmac key -binary | base64
    assert credential_for("1:x", "key") == "U28azAHpP+RxhmmrjCeYMSvmCbo="


@pytest.mark.parametrize("user_id", ['a"b', "a;b, c", "zoë", "a\r\nb", "<a>", "a\\b"])
def test_a_name_is_safe_wherever_it_is_written(user_id: str) -> None:
    """A user may be called anything; logs and Link headers see nothing that they have to quote."""
    name = servers().for_viewer(user_id, "s1", now_s=0)[1].username
    assert name is not None
    assert re.fullmatch(r"600:viewer_[a-z_]+_s1", name)


async def test_credentials_outlive_the_longest_session(tmp_path: Path) -> None:
    """Whoever is relayed is so to the end, even if the answer came late."""
    changes = {"turn_urls": URLS, "turn_secret": SecretStr(SHARED), "longest_session_s": 7200}
    asked_at_s = int(time.time())
    async with (
        relay_at(tmp_path, answer_deadline_s=100, **changes) as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        await user.send("watch_request", {"device_id": "cam"})
        both = [await user.payload("watch_ready"), await cam.payload("watch_request")]
    expiries = [int(one["ice_servers"][-1]["username"].split(":")[0]) for one in both]
    assert all(7300 <= expiry - asked_at_s <= 7330 for expiry in expiries)


def test_without_a_secret_there_is_no_turn() -> None:
    """STUN needs no secret; TURN is left out without one."""
    assert servers(secret=None).for_device("s1", now_s=0) == (
        IceServer(urls="stun:stun.example.com:3478"),
    )
    assert IceServers().for_viewer("u", "s1", now_s=0) == ()


@pytest.fixture
def coturn(program: Program, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Run a coturn that shares our secret, and give its address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            program("turnserver", "coturn"),
            "-n",
            "--use-auth-secret",
            f"--static-auth-secret={SHARED}",
            "--realm=example.com",
            "--listening-ip=127.0.0.1",
            "--relay-ip=127.0.0.1",
            f"--listening-port={port}",
            "--no-tls",
            "--no-dtls",
            "--no-cli",
            "--allow-loopback-peers",
            f"--pidfile={tmp_path / 'pid'}",
            "--log-file=stdout",
        ],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline_s = time.monotonic() + 15
        while not _listens(port):
            assert time.monotonic() < deadline_s
            assert process.poll() is None
            time.sleep(0.02)
        yield "127.0.0.1", port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def allocate(address: tuple[str, int], server: IceServer) -> None:
    """Get a relayed address with the credential of `server`, and give it back."""
    transport, _ = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol,
        server_addr=address,
        username=server.username,
        password=server.credential,
    )
    transport.close()


async def test_coturn_accepts_what_the_relay_hands_out(coturn: tuple[str, int]) -> None:
    """Device and viewer each get a relayed address, whatever the user is called."""
    now_s = time.time()
    await allocate(coturn, servers().for_device("s1", now_s=now_s)[1])
    for user_id in ("user", "a:b", "who@example.com", "zoë; 1", "u" * 128):
        await allocate(coturn, servers().for_viewer(user_id, "s1", now_s=now_s)[1])


async def test_coturn_refuses_what_was_tampered_with(coturn: tuple[str, int]) -> None:
    """Neither another's name, nor a longer time, nor an old credential is taken."""
    good = servers().for_device("s1", now_s=time.time())[1]
    assert good.username is not None
    expiry, name = good.username.split(":")
    for changed in (
        {"username": f"{int(expiry) + 3600}:{name}"},
        {"username": f"{expiry}:device_s2"},
        {"credential": credential_for(good.username, "another secret")},
    ):
        with pytest.raises(TransactionFailed):
            await allocate(coturn, good.model_copy(update=changed))
    with pytest.raises(TransactionFailed):
        await allocate(coturn, servers().for_device("s1", now_s=time.time() - 3600)[1])

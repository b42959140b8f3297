"""Two networks joined by a cable, whose faults can be changed while traffic flows.

    device ──── down: loss, rate, queue, delay ───► viewer
           ◄──── up: loss, rate, queue, delay ─────

Each is a network namespace without a name: nothing can collide, and the kernel removes both, with
the cable, once the test's process and its children are gone, however that happens. The test itself
moves into the device's (`entered`); what is to be in the viewer's is started by `command`.
"""

import asyncio
import ctypes
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal

from tests.slow_cable import SlowCable, Way, open_end

_CLONE_NEWNET = 0x4000_0000
_LINK = "cable"
_BURST_BYTES = 8_192
_PER_PERCENT = 1_000

Family = Literal[4, 6]

# Packets are dropped where they arrive, so that whoever sends them sees no error.
_LOSS = """
add table inet faults
add chain inet faults arriving {{ type filter hook prerouting priority -300; policy accept; }}
flush chain inet faults arriving
{rule}
"""
_LOSS_RULE = "add rule inet faults arriving meta l4proto udp {chance} counter drop"


class NoNetwork(Exception):
    """This machine does not let us make networks; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong in one direction.

    Attributes:
        loss_percent: of UDP packets, each by itself, at random. TCP is spared.
        rate_bps: what goes through; None for all.
        queue_ms: how long packets may wait for that; what comes on top is dropped.
        delay_ms: how long each is on its way besides; on a slow cable only.
        seed: of what is lost on a slow cable: the same one drops the same of the packets.
    """

    loss_percent: float = 0
    rate_bps: int | None = None
    queue_ms: int = 200
    delay_ms: float = 0
    seed: int = 0


NO_FAULTS = Faults()
CUT = Faults(loss_percent=100)


class Namespace:
    """One network, with an address of each family asked for."""

    def __init__(
        self, number: int, families: tuple[Family, ...], *, cable: int = 0, same: int | None = None
    ) -> None:
        self.ipv4 = IPv4Address(f"198.18.{cable}.{number}") if 4 in families else None
        self.ipv6 = IPv6Address(f"fd00:{cable}::{number}") if 6 in families else None
        self._handle = _new_namespace() if same is None else os.dup(same)
        self.path = f"/proc/{os.getpid()}/fd/{self._handle}"

    @property
    def address(self) -> str:
        """Its IPv4 address, or else its IPv6 one."""
        return str(self.ipv4 or self.ipv6)

    def with_another_end(self, families: tuple[Family, ...], *, cable: int) -> "Namespace":
        """Give the same network, as one end of another cable."""
        return Namespace(1, families, cable=cable, same=self._handle)

    def close(self) -> None:
        """Let it go as soon as no process uses it."""
        os.close(self._handle)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Open this thread's sockets here, and its children's, while the block runs."""
        home = _current_namespace()
        _enter(self._handle)
        try:
            yield
        finally:
            _enter(home)
            os.close(home)

    def command(self, *words: str) -> list[str]:
        """Give the command line that runs `words` in here."""
        return ["nsenter", f"--net={self.path}", *words]

    def launcher(self, program: str, folder: Path) -> Path:
        """Write a script that runs `program` in here, for those who want a path to start."""
        script = folder / f"{Path(program).name}-in-{self.address.replace(':', '-')}"
        script.write_text(f'#!/bin/sh\nexec {" ".join(self.command(program))} "$@"\n')
        script.chmod(0o755)
        return script


class Network:
    """Both ends and the cable. Made by `network`."""

    def __init__(
        self,
        families: tuple[Family, ...],
        *,
        device: Namespace | None = None,
        cable: int = 0,
        is_slow: bool = False,
    ) -> None:
        if device is None:
            self.device = Namespace(1, families, cable=cable)
        else:
            self.device = device.with_another_end(families, cable=cable)
        self.viewer = Namespace(2, families, cable=cable)
        self._link = f"{_LINK}{cable}" if cable else _LINK
        self._is_first = device is None
        self._is_slow = is_slow
        self._slow: SlowCable | None = None

    @asynccontextmanager
    async def faulty(
        self, *, down: Faults = NO_FAULTS, up: Faults = NO_FAULTS
    ) -> AsyncIterator[None]:
        """Have these faults while the block runs: `down` to the viewer, `up` to the device."""
        await self._set(down=down, up=up)
        try:
            yield
        finally:
            await self._set(down=NO_FAULTS, up=NO_FAULTS)

    async def change(self, *, down: Faults = NO_FAULTS, up: Faults = NO_FAULTS) -> None:
        """Have other faults, for the rest of the block that has some."""
        await self._set(down=down, up=up)

    async def dropped(self) -> tuple[int, int]:
        """Count the UDP packets lost at random since the faults were set, down and up."""
        if self._slow is not None:
            return await self._slow.lost()
        down, up = [
            await run(end.command("nft", "list", "chain", "inet", "faults", "arriving"))
            for end in (self.viewer, self.device)
        ]
        return _counted(down), _counted(up)

    async def _set(self, *, down: Faults, up: Faults) -> None:
        ways = ((down, self.device, self.viewer), (up, self.viewer, self.device))
        if self._slow is not None:
            await self._slow.be(down=_way(down), up=_way(up))
        for faults, sending, receiving in ways:
            if self._slow is None:
                assert not faults.delay_ms, "only a slow cable delays"
                await run(receiving.command("nft", "-f", "-"), text=_loss(faults.loss_percent))
            for command in _shaping(self._link, faults):
                await run(sending.command(*command))

    async def connect(self) -> None:
        """Lay the cable.

        Raises:
            NoNetwork: it cannot be laid, or its faults not be set.
        """
        ends = self.device, self.viewer
        if self._is_slow:
            handles = _slow_ends(ends, self._link)
        else:
            peer = ("peer", "name", self._link, "netns", self.viewer.path)
            await run(self.device.command("ip", "link", "add", self._link, "type", "veth", *peer))
        for end, is_first in zip(ends, (self._is_first, True), strict=True):
            lines = _addressing(end, self._link, is_first=is_first)
            await run(end.command("ip", "-batch", "-"), text=lines)
        if self._is_slow:
            self._slow = await SlowCable.between(*handles)
        # Tried once, so that a machine without them is noticed here.
        async with self.faulty(down=Faults(loss_percent=1, rate_bps=10**9)):
            pass

    async def close(self) -> None:
        """Let both ends go."""
        if self._slow is not None:
            await self._slow.close()
        self.device.close()
        self.viewer.close()


@asynccontextmanager
async def network(
    families: tuple[Family, ...] = (4, 6),
    *,
    device: Namespace | None = None,
    cable: int = 0,
    is_slow: bool = False,
) -> AsyncIterator[Network]:
    """Hold two joined networks without faults.

    `device` joins a further viewer's network, by a `cable` of another number, to one that there is.
    A slow one can delay packets (tests/slow_cable.py); it carries some ten megabits a second.

    Raises:
        NoNetwork: this machine lacks rights or tools (Debian packages iproute2, nftables).
    """
    built = Network(families, device=device, cable=cable, is_slow=is_slow)
    try:
        await built.connect()
        yield built
    finally:
        await built.close()


def _addressing(end: Namespace, link: str, *, is_first: bool) -> str:
    """Write what `ip -batch` does to one end; by its first cable a network reaches all else."""
    lines = [
        "link set lo up",
        # Cut into packets before they travel, as a real network card does, so that each is lost
        # by itself.
        # Without a link-local address: that would come a second later, and to a browser it would be
        # a change of network, at which it drops what it is loading.
        f"link set {link} up gso_max_segs 1 addrgenmode none",
    ]
    # WebRTC finds its own address by the default route.
    if end.ipv4 is not None:
        lines += [f"addr add {end.ipv4}/24 dev {link}"]
        lines += [f"route add 0.0.0.0/0 dev {link}"] if is_first else []
    if end.ipv6 is not None:
        lines += [f"addr add {end.ipv6}/64 dev {link} nodad"]
        lines += [f"route add ::/0 dev {link}"] if is_first else []
    return "\n".join(lines) + "\n"


def _slow_ends(ends: Sequence[Namespace], link: str) -> list[int]:
    handles = []
    for end in ends:
        with end.entered():
            try:
                handles.append(open_end(link))
            except OSError as error:
                raise NoNetwork(f"/dev/net/tun: {error}") from error
    return handles


def _way(faults: Faults) -> Way:
    return Way(faults.delay_ms / 1_000, faults.loss_percent, faults.seed)


def _loss(percent: float) -> str:
    if percent <= 0:
        return _LOSS.format(rule="")
    bound = round(percent * _PER_PERCENT)
    chance = f"numgen random mod {100 * _PER_PERCENT} < {bound}" if percent < 100 else ""
    return _LOSS.format(rule=_LOSS_RULE.format(chance=chance))


def _shaping(link: str, faults: Faults) -> list[list[str]]:
    root = ["dev", link, "root"]
    if faults.rate_bps is None:
        # Every link has a queue of some kind: this is the one it started with.
        return [["tc", "qdisc", "replace", *root, "noqueue"]]
    shape = ["rate", f"{faults.rate_bps}bit", "burst", f"{_BURST_BYTES}b"]
    return [["tc", "qdisc", "replace", *root, "tbf", *shape, "latency", f"{faults.queue_ms}ms"]]


def _counted(listing: str) -> int:
    words = listing.split()
    return int(words[words.index("packets") + 1]) if "packets" in words else 0


async def run(command: Sequence[str], *, text: str = "") -> str:
    """Run a tool of networks; give what it prints.

    Raises:
        NoNetwork: it is not there, or refuses.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except FileNotFoundError as error:
        raise NoNetwork(f"{command[0]} is not installed (Debian package util-linux)") from error
    output, _ = await process.communicate(text.encode())
    if process.returncode != 0:
        raise NoNetwork(f"{' '.join(command[2:])}: {output.decode().strip()}")
    return output.decode()


def _new_namespace() -> int:
    """Make one and give a handle to it; this thread stays where it is."""
    home = _current_namespace()
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        handle = _current_namespace()
        _enter(home)
    finally:
        os.close(home)
    return handle


def _current_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(handle: int) -> None:
    _check(_libc.setns(handle, _CLONE_NEWNET), "setns")


def _check(result: int, call: str) -> None:
    if result != 0:
        raise NoNetwork(f"{call}: {os.strerror(ctypes.get_errno())} (networks take root's rights)")


_libc = ctypes.CDLL(None, use_errno=True)

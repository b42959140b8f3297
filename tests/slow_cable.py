"""A cable on which packets take their time: two TUN devices, and a process that carries between them.

    device ── TUN ──► lost? ──► waits ──► TUN ── viewer
              TUN ◄── waits ◄── lost? ◄── TUN

The kernel's own way to delay packets (netem) is a module that many kernels lack. Run as a program,
this is the process: it imports little, and ends with whoever started it.
"""

import asyncio
import fcntl
import json
import os
import random
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# linux/if_tun.h
_TUNSETIFF = 0x4004_54CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000

_MOST_AT_ONCE = 64
_MTU_BYTES = 1_500
_PROGRAM = str(Path(__file__).resolve())
_PROTOCOL_AT = {4: 9, 6: 6}
_UDP = 17


class Way(NamedTuple):
    """What one direction does to packets.

    Attributes:
        delay_s: how long each is on its way; none overtakes another.
        loss_percent: of UDP packets.
        seed: of their choice.
    """

    delay_s: float = 0.0
    loss_percent: float = 0.0
    seed: int = 0


def open_end(name: str) -> int:
    """Make a TUN device in this thread's network and give the handle it is read and written by.

    The device is gone once that is closed.

    Raises:
        OSError: there is no TUN here, or it takes more rights.
    """
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(handle, _TUNSETIFF, request)
    except OSError:
        os.close(handle)
        raise
    return handle


class SlowCable:
    """The process that carries packets between two such devices, and how to tell it what to do."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def between(cls, device: int, viewer: int) -> "SlowCable":
        """Start to carry; the handles are the process's from then on.

        It ends when it is closed, or this process is gone.
        """
        ends = (device, viewer)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-S", _PROGRAM, *map(str, ends)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=ends,
            )
        finally:
            for end in ends:
                os.close(end)
        return cls(process)

    async def be(self, *, down: Way, up: Way) -> None:
        """Treat whatever comes from now on so, and count anew what is lost."""
        await self._ask([down, up])

    async def lost(self) -> tuple[int, int]:
        """Count the packets lost at random since it was told last, down and up."""
        down, up = await self._ask(None)
        return down, up

    async def close(self) -> None:
        """Carry no more, and end."""
        assert self._process.stdin is not None, "a pipe"
        self._process.stdin.close()
        await self._process.wait()

    async def _ask(self, wishes: object) -> list[int]:
        assert self._process.stdin is not None, "a pipe"
        assert self._process.stdout is not None, "a pipe"
        self._process.stdin.write(json.dumps(wishes).encode() + b"\n")
        answer: list[int] = json.loads(await self._process.stdout.readline())
        return answer


class _Direction:
    """One of the two: packets wait in the order they came."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        self._waiting: deque[tuple[float, bytes]] = deque()
        self.lost = 0
        self.be(Way())

    def be(self, way: Way) -> None:
        """Treat packets so from now on."""
        self._way = way
        self._chance = random.Random(way.seed)  # noqa: S311 - it has to be repeatable
        self.lost = 0

    @property
    def due_at_s(self) -> float:
        """When the next packet is to go on."""
        return self._waiting[0][0] if self._waiting else float("inf")

    def take(self) -> None:
        """Read what has come."""
        for _ in range(_MOST_AT_ONCE):
            try:
                packet = os.read(self._source, _MTU_BYTES)
            except OSError:
                # Nothing more, or the device is not up.
                return
            if self._loses(packet):
                self.lost += 1
            else:
                due_at_s = time.monotonic() + self._way.delay_s
                last_s = self._waiting[-1][0] if self._waiting else due_at_s
                self._waiting.append((max(due_at_s, last_s), packet))

    def hand_on(self) -> None:
        """Write what has waited for long enough."""
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            try:
                os.write(self._target, self._waiting.popleft()[1])
            except OSError:
                # As any network: what cannot be delivered is gone.
                continue

    def _loses(self, packet: bytes) -> bool:
        is_udp = packet[_PROTOCOL_AT.get(packet[0] >> 4, 0)] == _UDP
        return is_udp and 100 * self._chance.random() < self._way.loss_percent


def _carry(device: int, viewer: int) -> None:
    """Carry packets, and obey the lines that come at standard input, until there is no more."""
    down, up = _Direction(device, viewer), _Direction(viewer, device)
    orders = sys.stdin.fileno()
    while True:
        wait_s = min(down.due_at_s, up.due_at_s) - time.monotonic()
        timeout_s = None if wait_s == float("inf") else max(0.0, wait_s)
        ready, _, _ = select.select([device, viewer, orders], [], [], timeout_s)
        if device in ready:
            down.take()
        if viewer in ready:
            up.take()
        if orders in ready and not _obey((down, up)):
            return
        down.hand_on()
        up.hand_on()


def _obey(directions: Sequence[_Direction]) -> bool:
    """Take an order, if there is one, and answer it; false at the end of them."""
    # Unbuffered: one line, one answer, so that no second one can be there.
    line = sys.stdin.buffer.raw.readline()  # type: ignore[attr-defined]
    if not line:
        return False
    for direction, way in zip(directions, json.loads(line) or (), strict=False):
        direction.be(Way(*way))
    os.write(sys.stdout.fileno(), json.dumps([one.lost for one in directions]).encode() + b"\n")
    return True


if __name__ == "__main__":
    _carry(int(sys.argv[1]), int(sys.argv[2]))

"""A device behind its router, a viewer behind another, and the internet in between.

    device ────── home ────── internet ────── office ────── viewer
    192.168.7.2        198.18.1.2   198.18.2.2        192.168.8.2
                              198.18.0.9: TURN servers

Routers translate addresses as the test says, and let through what it says. Each of the five is a
network namespace, as in `tests.network`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from tests.network import Namespace, run

SERVER = "198.18.0.9"
NOBODY = "198.18.9.9"
HOME, OFFICE = "198.18.1.2", "198.18.2.2"
DEVICE, VIEWER = "192.168.7.2", "192.168.8.2"

Nat = Literal["cone", "restricted", "symmetric"]
Passing = Literal["all", "no udp", "port 443"]

_RULES = """
table ip router
delete table ip router
table ip router {{
    chain arriving {{
        type nat hook prerouting priority dstnat; policy accept;
        {arriving}
    }}
    chain leaving {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "wan" masquerade {leaving}
    }}
    chain own {{
        type filter hook input priority filter; policy accept;
        iifname "wan" ct state new drop comment "else it would keep a port from those inside"
    }}
    chain passing {{
        type filter hook forward priority filter; policy accept;
        {passing}
    }}
}}
"""
_PASSING: dict[Passing, str] = {
    "all": "",
    "no udp": "meta l4proto udp drop",
    "port 443": 'iifname "lan" tcp dport != 443 drop; iifname "lan" meta l4proto != tcp drop',
}


class Router:
    """One of the two routers."""

    def __init__(self, space: Namespace, inside: str) -> None:
        self.space = space
        self._inside = inside

    async def be(self, nat: Nat = "restricted", passing: Passing = "all") -> None:
        """Translate and let through from now on.

        Args:
            nat: `symmetric` has another port for every destination; the others keep the port.
                Through a `cone` everybody may then reach the inside, else only who was sent to.
            passing: `no udp` and `port 443` drop the rest without a word.
        """
        arriving = f'iifname "wan" meta l4proto udp dnat to {self._inside}'
        rules = _RULES.format(
            arriving=arriving if nat == "cone" else "",
            leaving="fully-random" if nat == "symmetric" else "",
            passing=_PASSING[passing],
        )
        await run(self.space.command("nft", "-f", "-"), text=rules)


class World:
    """All five. Made by `world`."""

    def __init__(self) -> None:
        self.device, self.viewer, self.internet = (Namespace(n, ()) for n in (11, 12, 13))
        self.home = Router(Namespace(14, ()), DEVICE)
        self.office = Router(Namespace(15, ()), VIEWER)

    async def connect(self) -> None:
        """Lay the cables and open the routers.

        Raises:
            NoNetwork: that cannot be done here.
        """
        await self._lay_out_the_internet()
        await self._connect(self.device, self.home, inside=DEVICE, outside=HOME)
        await self._connect(self.viewer, self.office, inside=VIEWER, outside=OFFICE)
        for space in (self.home.space, self.office.space, self.internet):
            await run(space.command("sysctl", "-qw", "net.ipv4.ip_forward=1"))
        await self.home.be()
        await self.office.be()

    async def _lay_out_the_internet(self) -> None:
        await _batch(
            self.internet,
            "link set lo up",
            f"addr add {SERVER}/32 dev lo",
            # What is addressed to nobody vanishes on the way, as it does out there.
            "link add nowhere type veth peer name void",
            "link set nowhere up",
            "link set void up",
            f"neigh add {NOBODY} lladdr 02:00:00:00:00:01 dev nowhere nud permanent",
            f"route add default via {NOBODY} dev nowhere onlink",
        )

    async def _connect(self, end: Namespace, router: Router, *, inside: str, outside: str) -> None:
        gateway, beyond = f"{inside[:-1]}1", f"{outside[:-1]}1"
        wan = f"to-{outside}"
        await _batch(
            router.space,
            f"link add lan type veth peer name lan netns {end.path}",
            f"link add wan type veth peer name {wan} netns {self.internet.path}",
            f"addr add {gateway}/24 dev lan",
            f"addr add {outside}/24 dev wan",
            "link set lan up",
            "link set wan up",
        )
        await _batch(self.internet, f"addr add {beyond}/24 dev {wan}", f"link set {wan} up")
        await _batch(router.space, f"route add default via {beyond}")
        await _batch(
            end,
            "link set lo up",
            f"addr add {inside}/24 dev lan",
            "link set lan up",
            f"route add default via {gateway}",
        )

    def close(self) -> None:
        """Let all go."""
        for space in (
            self.device,
            self.viewer,
            self.internet,
            self.home.space,
            self.office.space,
        ):
            space.close()


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Hold two routers that reach each other, and who is behind them.

    Raises:
        NoNetwork: this machine lacks rights or tools.
    """
    built = World()
    try:
        await built.connect()
        yield built
    finally:
        built.close()


async def move(end: Namespace, before: str, after: str) -> None:
    """Give an end another address in its own network."""
    await _batch(
        end,
        f"addr del {before}/24 dev lan",
        f"addr add {after}/24 dev lan",
        f"route replace default via {before.rpartition('.')[0]}.1",
    )


async def _batch(space: Namespace, *lines: str) -> None:
    await run(space.command("ip", "-batch", "-"), text="\n".join(lines) + "\n")

"""Which of this machine's addresses viewers are offered."""

import fnmatch
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import ifaddr

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class InterfaceFilter:
    """Names with wildcards (`eth*`) and prefixes (`192.168.0.0/16`), to be used and to be left out.

    Attributes:
        allowed: `*` allows all.
        denied: wins over `allowed`.
    """

    allowed: tuple[str, ...] = ("*",)
    denied: tuple[str, ...] = ()

    def takes(self, name: str, address: IpAddress) -> bool:
        """Tell whether viewers are offered `address` of the interface `name`."""
        if address.is_loopback or address.is_link_local:
            return False
        is_allowed = _matches(self.allowed, name, address)
        return is_allowed and not _matches(self.denied, name, address)


def own_addresses(interfaces: InterfaceFilter) -> list[str]:
    """List the addresses of this machine that `interfaces` takes, in the system's order."""
    return [
        str(address)
        for name, address in _addresses(ifaddr.get_adapters())
        if interfaces.takes(name, address)
    ]


def _addresses(adapters: Iterable[ifaddr.Adapter]) -> Iterable[tuple[str, IpAddress]]:
    for adapter in adapters:
        for one in adapter.ips:
            text = one.ip if isinstance(one.ip, str) else one.ip[0]
            yield adapter.name, ipaddress.ip_address(text)


def _matches(patterns: Sequence[str], name: str, address: IpAddress) -> bool:
    return any(
        address in network if (network := _network(pattern)) else fnmatch.fnmatch(name, pattern)
        for pattern in patterns
    )


def _network(pattern: str) -> IpNetwork | None:
    try:
        return ipaddress.ip_network(pattern)
    except ValueError:
        return None

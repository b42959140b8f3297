"""Which addresses viewers are offered."""

import ipaddress

import pytest

from camagent.webrtc.interfaces import InterfaceFilter, own_addresses


@pytest.mark.parametrize(
    ("name", "address", "is_taken"),
    [
        ("eth0", "192.168.1.2", True),
        ("wlan0", "2001:db8::2", True),
        ("tailscale0", "100.64.0.2", True),
        ("lo", "127.0.0.1", False),
        ("lo", "::1", False),
        ("eth0", "169.254.7.7", False),
        ("eth0", "fe80::2", False),
    ],
)
def test_addresses_for_nobody_else_are_left_out(name: str, address: str, is_taken: bool) -> None:
    """Whatever is allowed."""
    assert InterfaceFilter().takes(name, ipaddress.ip_address(address)) is is_taken


def test_names_and_prefixes_choose() -> None:
    """What is denied is denied even if it is allowed."""
    chosen = InterfaceFilter(allowed=("eth*", "10.0.0.0/8", "2001:db8::/32"), denied=("eth1",))

    def takes(name: str, address: str) -> bool:
        return chosen.takes(name, ipaddress.ip_address(address))

    assert takes("eth0", "192.168.1.2")
    assert takes("wlan0", "10.1.2.3")
    assert takes("wlan0", "2001:db8::7")
    assert not takes("wlan0", "192.168.1.2")
    assert not takes("eth1", "10.1.2.3")


def test_this_machines_addresses_are_read() -> None:
    """With everything allowed by its own addresses, they are found."""
    everything = own_addresses(InterfaceFilter())
    assert everything
    for address in everything:
        assert own_addresses(InterfaceFilter(allowed=(address,))) == [address]
        assert address not in own_addresses(InterfaceFilter(denied=(address,)))

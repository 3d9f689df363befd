from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.firewall.places import IPV6, client_at, place_of


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_its_number(address: ipaddress.IPv4Address) -> None:
    assert place_of(str(address)) == int(address)
    assert client_at(place_of(str(address)), 64) == int(address)


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_is_behind_them(address: ipaddress.IPv6Address) -> None:
    wanted = IPV6 + int(address) if address.ipv4_mapped is None else int(address.ipv4_mapped)
    assert place_of(str(address)) == place_of(address.exploded) == wanted


@given(st.ip_addresses(v=4))
def test_an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client(address: ipaddress.IPv4Address) -> None:
    assert place_of(f"::ffff:{address}") == int(address)


def test_zones_and_other_spellings() -> None:
    assert place_of("fe80::1%eth0") == place_of("fe80::1")
    assert place_of("64:ff9b::192.0.2.1") == place_of("64:ff9b::c000:201")
    assert place_of("::") == IPV6


@pytest.mark.parametrize("text", ["x", "1.2.3", "1.2.3.x", "::g"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal|unpack"):
        place_of(text)


def test_clients_of_one_network_are_one() -> None:
    one, other, third = (place_of(f"2001:db8:{net}::{host}") for net, host in ((1, 1), (1, 2), (2, 1)))
    assert client_at(one, 64) == client_at(other, 64) != client_at(third, 64)
    assert client_at(one, 128) != client_at(other, 128)
    assert client_at(one, 32) == client_at(third, 32)
    assert client_at(place_of("::"), 1) >= IPV6, "no IPv4 address has the same number"

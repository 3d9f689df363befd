from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.firewall.networks import Network, NetworkTable, read_networks
from lbkit.firewall.places import place_of


def networks(*texts: str) -> list[Network]:
    return [Network.parse(text) for text in texts]


def admits(allow: list[str], deny: list[str], address: str) -> bool:
    return NetworkTable(networks(*allow), networks(*deny)).admits(place_of(address))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::/0", "::/0"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_networks_as_they_are_written(text: str, shown: str) -> None:
    if shown == "::fffe:0:0/95":
        with pytest.raises(ValueError, match='write "::fffe:0:0/95"'):
            Network.parse(text)
    else:
        assert str(Network.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "x", "192.0.2.0/33", "192.0.2", "192.0.2.0/24 ", "300.1.1.1", "::/129"])
def test_not_a_network(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network"):
        Network.parse(text)


def test_bits_behind_the_prefix() -> None:
    with pytest.raises(ValueError, match='write "192.0.2.0/24"'):
        Network.parse("192.0.2.1/24")


def test_with_nothing_said_everybody_comes_in() -> None:
    assert admits([], [], "192.0.2.1")
    assert admits([], [], "::1")


def test_what_is_denied() -> None:
    assert not admits([], ["192.0.2.0/24"], "192.0.2.0")
    assert not admits([], ["192.0.2.0/24"], "192.0.2.255")
    assert not admits([], ["192.0.2.0/24"], "::ffff:192.0.2.7")
    for outside in ("192.0.1.255", "192.0.3.0", "::192.0.2.1"):
        assert admits([], ["192.0.2.0/24"], outside)
    assert not admits([], ["255.255.255.255"], "255.255.255.255")
    assert admits([], ["255.255.255.255"], "::")
    assert not admits([], ["::/0"], "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    assert admits([], ["::/0"], "127.0.0.1")


def test_with_something_allowed_only_that_comes_in() -> None:
    assert admits(["192.0.2.0/24"], [], "192.0.2.1")
    assert not admits(["192.0.2.0/24"], [], "192.0.3.1")
    assert not admits(["192.0.2.0/24"], [], "::1")
    assert admits(["0.0.0.0/0", "::/0"], ["192.0.2.0/24"], "::1")


def test_the_most_specific_network_decides() -> None:
    allow, deny = ["10.1.0.0/16", "0.0.0.0/0"], ["10.0.0.0/8", "10.1.2.0/24"]
    assert admits(allow, deny, "10.1.1.1")
    assert not admits(allow, deny, "10.1.2.1")
    assert admits(allow, deny, "10.1.3.0")
    assert not admits(allow, deny, "10.2.0.0")
    assert admits(allow, deny, "11.0.0.0")


def test_allowed_and_denied_is_denied() -> None:
    assert not admits(["192.0.2.0/24"], ["192.0.2.0/24"], "192.0.2.1")


def test_neighbours_are_one_stretch() -> None:
    table = NetworkTable([], networks(*(f"10.0.{i}.0/24" for i in range(256))))
    assert table.denied() == [(place_of("10.0.0.0"), place_of("10.1.0.0"))]
    assert len(NetworkTable()) == 1


some_networks = st.lists(
    st.builds(
        lambda address, prefix: ipaddress.ip_network(
            (address, min(prefix, address.max_prefixlen)), strict=False
        ),
        st.one_of(
            st.integers(0, 15).map(lambda n: ipaddress.IPv4Address(n << 28 | 0x0F0F0F)),
            st.integers(0, 15).map(lambda n: ipaddress.IPv6Address((0x2000 << 112) + n)),
        ),
        st.integers(0, 128),
    ),
    max_size=12,
)


@given(some_networks, some_networks, st.integers(0, 15))
def test_as_looking_at_every_network_would_find(allow: list, deny: list, number: int) -> None:  # type: ignore[type-arg]
    table = NetworkTable(networks(*map(str, allow)), networks(*map(str, deny)))
    for address in (
        ipaddress.IPv4Address(number << 28 | 0x0F0F0F),
        ipaddress.IPv6Address((0x2000 << 112) + number),
    ):
        around = [
            (n.prefixlen, verdict) for nets, verdict in ((allow, 1), (deny, 0)) for n in nets if address in n
        ]
        most = max((length for length, _ in around), default=None)
        wanted = not allow if most is None else all(v for length, v in around if length == most)
        assert table.admits(place_of(str(address))) is wanted


def test_ten_thousand_networks() -> None:
    rng = random.Random(7)
    denied = [
        f"{rng.randrange(1, 224)}.{rng.randrange(256)}.{rng.randrange(256)}.0/24" for _ in range(10_000)
    ]
    table = NetworkTable([], networks(*denied))
    assert not any(table.admits(place_of(text.replace("0/24", "77"))) for text in denied)
    assert table.admits(place_of("224.0.0.1"))


def test_a_file() -> None:
    found, problems = read_networks("# bad ones\n192.0.2.0/24\n\n  ::1  # here\nx\n10.0.0.1/8\n")
    assert [str(network) for network in found] == ["192.0.2.0/24", "::1/128"]
    assert [problem.partition(":")[0] for problem in problems] == ["line 5", "line 6"]

"""What comes before the first word of HTTP: lists of networks, PROXY headers, TLS hellos."""

from __future__ import annotations

import contextlib
import ipaddress

from fuzz.target import Target, agree, pieces
from lbkit.errors import ClientError
from lbkit.firewall import NetworkTable, Rate, place_of, read_networks
from lbkit.firewall.rules import parse_header_pattern
from lbkit.proxy_protocol import HeaderParser
from lbkit.proxy_protocol.build import build, build_v2
from lbkit.tls.client_hello import MOST, ClientHello, Incomplete, read_client_hello

__all__ = ["TARGETS"]

ADDRESSES = ("192.0.2.1", "10.0.0.0", "255.255.255.255", "0.0.0.0", "2001:db8::1", "::", "::ffff:10.0.0.1")


def check_lists(data: bytes) -> None:
    """The table says what a look at every network would say."""
    text = data.decode("utf-8", "replace")
    networks, problems = read_networks(text)
    assert len(networks) + len(problems) <= len(text.splitlines())
    half = len(networks) // 2
    allowed, denied = networks[:half], networks[half:]
    table = NetworkTable(allowed, denied)
    for network in networks:
        (again,), _ = read_networks(str(network))
        assert again == network
    for address in ADDRESSES:
        place = place_of(address)
        around = [one for one in networks if one.first <= place < one.first + one.size]
        if around:
            smallest = min(around, key=lambda one: one.size)
            assert table.admits(place) == (smallest not in denied)
        else:
            assert table.admits(place) == (not allowed)


def check_rates(data: bytes) -> None:
    """What is read is written as the same."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        rate = Rate.parse(text)
        assert Rate.parse(str(rate)) == rate and rate.interval > 0
    with contextlib.suppress(ValueError):
        parse_header_pattern(text)


def introduced(data: bytes, size: int) -> object:
    """The header, and how many bytes it has; None where it is refused or not complete."""
    parser, taken = HeaderParser(), 0
    try:
        for piece in pieces(data, size):
            used = parser.feed(piece)
            taken += used
            assert 0 <= used <= len(piece) and (used == len(piece) or parser.header is not None)
    except ClientError as error:
        assert error.status == 0
        return None
    return (parser.header, taken) if parser.header is not None else "open"


def check_introductions(data: bytes) -> None:
    """However it is cut, it is the same; what is read of two addresses is what is written of them."""
    size, data = data[0] % 16 + 1 if data else 1, data[1:]
    whole = introduced(data, len(data) or 1)
    agree([("whole", whole), ("in pieces", introduced(data, size)), ("bytes", introduced(data, 1))])
    if not isinstance(whole, tuple) or whole[0].client is None:
        return
    header = whole[0]
    assert header.ssl is None or header.ssl.verify >= 0
    for client, server in (header.client, header.server), (header.server, header.client):
        ipaddress.ip_address(client[0])
        for version in ("v1", "v2"):
            again, taken = introduced(build(version, client, server), 200)  # type: ignore[misc]
            assert (again.client, again.server) == (client, server) and taken
    again, _ = introduced(build_v2(header.client, header.server, header.tlvs, checksum=True), 1 << 17)  # type: ignore[misc]
    assert again.tlvs == header.tlvs


def check_hellos(data: bytes) -> None:
    """A hello has one reading, and no beginning of it is refused, or says that nothing is missing."""
    try:
        found = read_client_hello(data)
    except ValueError:
        return
    if isinstance(found, Incomplete):
        assert len(data) < found.needed <= MOST + 5
        return
    assert isinstance(found, ClientHello) and read_client_hello(data + b"x") == found
    for cut in range(0, len(data), max(1, len(data) // 8)):
        shorter = read_client_hello(data[:cut])
        assert shorter == found or (isinstance(shorter, Incomplete) and cut < shorter.needed)


def hello(name: bytes = b"www.example.com") -> bytes:
    """The least that is one."""
    names = b"\0\0" + vector(vector(b"\0" + vector(name, 2), 2), 2)
    protocols = b"\0\x10" + vector(vector(vector(b"h2", 1) + vector(b"http/1.1", 1), 2), 2)
    body = (
        b"\3\3" + b"r" * 32 + b"\0" + vector(b"\x13\1", 2) + vector(b"\0", 1) + vector(names + protocols, 2)
    )
    return b"\x16\3\1" + vector(b"\1" + vector(body, 3), 2)


def vector(content: bytes, size: int) -> bytes:
    return len(content).to_bytes(size, "big") + content


V2 = b"\r\n\r\n\0\r\nQUIT\n"
ENDS = (("192.0.2.1", 56_324), ("198.51.100.2", 443)), (("2001:db8::1", 1), ("::2", 65_535))
INTRODUCTIONS = tuple(
    b"\6" + header + b"GET /"
    for header in (
        *(build(version, *ends) for version in ("v1", "v2") for ends in ENDS),
        *(build_v2(*ends, checksum=True) for ends in ENDS),
        build("v1"),
        build("v2"),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        V2 + b"\x21\x31" + vector(b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0"), 2),
        V2 + b"\x21\x11" + vector(b"\1" * 12 + b"\x20" + vector(b"\1\0\0\0\0\x21\0\1x", 2) + b"\4\0\0", 2),
    )
)
LISTS = (
    b"192.0.2.0/24\n10.0.0.0/8 # x\n\n2001:db8::/32",
    b"0.0.0.0/0\n::/0\n10.0.0.1",
    b"::ffff:10.0.0.0/104\n1.2.3.4/8",
)
RATES = (b"100/s", b"1/m burst 20", b"0/h", b"X-Odd: ^a+$", b"A: (")
TARGETS = (
    Target("networks", check_lists, LISTS),
    Target("rates", check_rates, RATES),
    Target("proxy-protocol", check_introductions, INTRODUCTIONS),
    Target("client-hello", check_hellos, (hello(), hello(b"*"), hello()[:50], b"GET / HTTP/1.1\r\n")),
)

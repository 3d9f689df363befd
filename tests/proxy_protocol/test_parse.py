from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import ClientError
from lbkit.proxy_protocol.build import build, build_v1, build_v2
from lbkit.proxy_protocol.header import SIGNATURE, Header, Ssl, Tlv, TlvType
from lbkit.proxy_protocol.parse import HeaderParser

CLIENT, SERVER = ("192.0.2.1", 56324), ("198.51.100.2", 443)
V4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + b"\xdc\x04\x01\xbb"


def v2(command: int, family: int, rest: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest) if length is None else length) + rest


def parse(data: bytes) -> Header:
    """In one piece, with a payload behind it that must stay."""
    parser = HeaderParser()
    assert parser.feed(data + b"GET /") == len(data)
    assert parser.header is not None
    assert parser.feed(b"GET /") == 0
    return parser.header


def parse_bytewise(data: bytes) -> Header:
    parser = HeaderParser()
    for index in range(len(data)):
        assert parser.header is None, "before the last byte there is none"
        assert parser.feed(data[index : index + 1]) == 1
    assert parser.header is not None
    return parser.header


both_ways = pytest.mark.parametrize("how", [parse, parse_bytewise])
Way = Callable[[bytes], Header]


@both_ways
def test_version_1(how: Way) -> None:
    assert how(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n") == Header(1, client=CLIENT, server=SERVER)
    six = Header(1, client=("2001:db8::1", 0), server=("::1", 65535))
    assert how(b"PROXY TCP6 2001:DB8::1 ::1 0 65535\r\n") == six
    for line in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 what ever 1 2\r\n"):
        assert how(line) == Header(1, is_local=True)


@both_ways
def test_version_2(how: Way) -> None:
    assert how(v2(0x21, 0x11, V4)) == Header(2, client=CLIENT, server=SERVER)
    six = bytes(15) + b"\x01" + bytes(15) + b"\x02" + struct.pack("!HH", 1, 2)
    assert how(v2(0x21, 0x21, six)) == Header(2, client=("::1", 1), server=("::2", 2))
    unix = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")
    assert how(v2(0x21, 0x31, unix)) == Header(2, paths=(b"/run/a", b"/run/b"))
    assert how(v2(0x20, 0x00, b"")) == Header(2, is_local=True)
    assert how(v2(0x20, 0x11, V4)) == Header(2, is_local=True), "its addresses are nobody's"
    assert how(v2(0x21, 0x00, b"whatever")) == Header(2)
    assert how(v2(0x21, 0x12, V4)) == Header(2), "datagrams"


def test_ipv4_that_is_written_as_ipv6() -> None:
    header = parse(b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 56324 443\r\n")
    assert (header.client, header.server) == (CLIENT, SERVER)


def test_what_is_told_beside_the_addresses() -> None:
    ssl = Ssl(7, 0, (Tlv(TlvType.SSL_VERSION, b"TLSv1.3"), Tlv(TlvType.SSL_CIPHER, b"x"), Tlv(0x99, b"?")))
    tlvs = (
        Tlv(TlvType.ALPN, b"h2"),
        Tlv(TlvType.AUTHORITY, b"example.com"),
        Tlv(TlvType.NOOP, bytes(9)),
        Tlv(TlvType.UNIQUE_ID, b"7" * 128),
        ssl.pack(),
        Tlv(0xE0, b"own"),
    )
    for checksum in (False, True):
        header = parse(build_v2(CLIENT, SERVER, tlvs, checksum=checksum))
        assert header.value(TlvType.ALPN) == b"h2"
        assert header.ssl == ssl
        assert header.value(0xE0) == b"own", "unknown ones are kept"
        assert [tlv.kind for tlv in header.tlvs] == [1, 2, 5, 0x20, 0xE0]


def test_a_wrong_checksum() -> None:
    good = build_v2(CLIENT, SERVER, (Tlv(TlvType.ALPN, b"h2"),), checksum=True)
    parse(good)
    for place in set(range(16, len(good))) - {33}:  # there it says that this is the checksum
        bad = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        with pytest.raises(ClientError):
            parse(bad)


@both_ways
@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXZ",
        b"proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1  2\r\n",
        b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP6 ::1%lo ::1 1 2\r\n",
        b"PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UNKNOWN\rx\r\n",
        b"PROXY UNKNOWN " + b"x" * 100,
        b"PROXY TCP4\r\n",
        SIGNATURE[:-1] + b"\r\x21\x11\x00\x0c" + V4,
        v2(0x11, 0x11, V4),
        v2(0x22, 0x11, V4),
        v2(0x21, 0x41, V4),
        v2(0x21, 0x13, V4),
        v2(0x21, 0x11, V4[:-1]),
        v2(0x21, 0x21, V4),
        v2(0x21, 0x31, V4),
        v2(0x21, 0x11, V4 + b"\x01"),
        v2(0x21, 0x11, V4 + b"\x01\x00\x02h"),
        v2(0x21, 0x11, V4 + b"\x03\x00\x03abc"),
        v2(0x21, 0x11, V4 + b"\x03\x00\x04abcd"),
        v2(0x21, 0x11, V4 + b"\x05\x00\x81" + b"x" * 129),
        v2(0x21, 0x11, V4 + b"\x20\x00\x04abcd"),
        v2(0x21, 0x11, V4 + b"\x20\x00\x06abcde\x21"),
    ],
)
def test_what_is_no_header(how: Way, data: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        how(data)
    assert caught.value.status == 0


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None))
ports = st.integers(0, 65535)


@given(st.sampled_from(["v1", "v2"]), st.ip_addresses(v=4), st.ip_addresses(v=4), ports, ports)
def test_ipv4_ends_come_as_they_went(version: str, one: object, other: object, a: int, b: int) -> None:
    header = parse_bytewise(build(version, (str(one), a), (str(other), b)))
    assert (header.client, header.server) == ((str(one), a), (str(other), b))


some_ipv6 = st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None)


@given(st.sampled_from(["v1", "v2"]), some_ipv6, some_ipv6, ports, ports)
def test_ipv6_ends_come_as_they_went(version: str, one: object, other: object, a: int, b: int) -> None:
    header = parse_bytewise(build(version, (str(one), a), (str(other), b)))
    assert (header.client, header.server) == ((str(one), a), (str(other), b))


kinds = st.integers(0, 255).filter(lambda kind: kind not in (3, 4, 5, 0x20))


@given(st.lists(st.builds(Tlv, kinds, st.binary(max_size=50)), max_size=6), st.booleans())
def test_tlvs_come_as_they_went(tlvs: list[Tlv], checksum: bool) -> None:
    assert parse(build_v2(CLIENT, SERVER, tuple(tlvs), checksum=checksum)).tlvs == tuple(tlvs)


beginnings = st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00\x20"])


@given(beginnings, st.binary(max_size=200), st.lists(st.integers(1, 30), min_size=1))
def test_anything_is_a_header_a_beginning_or_an_error_however_it_is_cut(
    beginning: bytes, rest: bytes, sizes: list[int]
) -> None:
    def outcome(pieces: list[bytes]) -> tuple[Header | None, int] | str:
        parser, taken = HeaderParser(), 0
        try:
            for piece in pieces:
                taken += parser.feed(piece)
        except ClientError as error:
            return str(error)
        return parser.header, taken

    data = beginning + rest
    pieces, at = [], 0
    for size in sizes * (len(data) + 1):
        pieces.append(data[at : at + size])
        at += size
    whole = outcome([data])
    assert outcome(pieces) == whole
    if not isinstance(whole, str):
        assert whole[1] <= len(data)


@given(st.binary(max_size=300))
def test_a_damaged_header_is_never_taken_for_another_length(noise: bytes) -> None:
    good = build_v1(CLIENT, SERVER)
    parser = HeaderParser()
    assert parser.feed(good + noise) == len(good)

from __future__ import annotations

import pytest

from lbkit.proxy_protocol.build import build, build_v1, build_v2
from lbkit.proxy_protocol.header import SIGNATURE, Tlv, TlvType

CLIENT, SERVER = ("192.0.2.1", 56324), ("198.51.100.2", 443)


def test_version_1() -> None:
    assert build_v1(CLIENT, SERVER) == b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
    assert build_v1(("2001:DB8::1", 1), ("::1", 2)) == b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n"
    longest = ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)
    assert len(build_v1(longest, longest)) <= 107
    assert build_v1() == build_v1(CLIENT, None) == b"PROXY UNKNOWN\r\n"


def test_version_2() -> None:
    assert build_v2(CLIENT, SERVER) == (
        SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 1, 198, 51, 100, 2]) + b"\xdc\x04\x01\xbb"
    )
    six = build_v2(("::1", 1), ("::2", 2))
    assert six[12:16] == b"\x21\x21\x00\x24"
    assert len(six) == 52
    assert build_v2() == SIGNATURE + b"\x20\x00\x00\x00"


def test_further_information_follows_the_addresses() -> None:
    whole = build_v2(CLIENT, SERVER, (Tlv(TlvType.ALPN, b"h2"),), checksum=True)
    assert whole[14:16] == b"\x00\x18"
    assert whole[28:33] == b"\x01\x00\x02h2"
    assert whole[33:36] == b"\x03\x00\x04"


@pytest.mark.parametrize(
    ("client", "server", "line"),
    [
        ("::ffff:192.0.2.1", "::ffff:198.51.100.2", b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"),
        ("::ffff:192.0.2.1", "198.51.100.2", b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"),
        ("fe80::1%eth0", "fe80::2", b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"),
        ("2001:db8::1", "192.0.2.1", b"PROXY TCP6 2001:db8::1 ::ffff:c000:201 1 2\r\n"),
    ],
)
def test_both_ends_are_of_one_family(client: str, server: str, line: bytes) -> None:
    assert build("v1", (client, 1), (server, 2)).replace(b"::ffff:192.0.2.1", b"::ffff:c000:201") == line
    assert build("v2", (client, 1), (server, 2))[13] == (0x11 if b"TCP4" in line else 0x21)

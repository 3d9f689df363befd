from __future__ import annotations

import contextlib
import random
import ssl
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.tls.client_hello import MOST, ClientHello, Incomplete, read_client_hello


def hello(name: str | None = "www.example.com", alpn: Sequence[str] = (), *, most: str = "1.3") -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if most == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def in_records(message: bytes, sizes: Sequence[int]) -> bytes:
    """The same handshake message in other records; the last takes the rest."""
    parts, at = [], 0
    for size in sizes:
        parts.append(message[at : at + size])
        at += size
    parts.append(message[at:])
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts if part)


def number(value: int, size: int = 2) -> bytes:
    return value.to_bytes(size, "big")


def built(
    extensions: Sequence[tuple[int, bytes]], *, version: int = 0x0303, suites: bytes = b"\x13\x01"
) -> bytes:
    """A hello by hand, for what no library would send."""
    fields = b"".join(number(kind) + number(len(value)) + value for kind, value in extensions)
    body = number(version) + bytes(32) + b"\0" + number(len(suites)) + suites + b"\x01\0"
    body += number(len(fields)) + fields
    return in_records(b"\x01" + number(len(body), 3) + body, [])


def sni(name: bytes) -> tuple[int, bytes]:
    entry = b"\0" + number(len(name)) + name
    return 0, number(len(entry)) + entry


def test_name_and_protocols() -> None:
    assert read_client_hello(hello("WWW.Example.com", ["h2", "http/1.1"])) == ClientHello(
        "www.example.com", (b"h2", b"http/1.1")
    )
    assert read_client_hello(hello(None)) == ClientHello(None)
    assert read_client_hello(hello(most="1.2")) == ClientHello("www.example.com")


def test_unknown_things_of_grease_are_passed_over() -> None:
    """RFC 8701: values that mean nothing, so that nobody forgets to ignore what is unknown."""
    data = built(
        [
            (0x0A0A, b""),
            (0x1A1A, b"x"),
            sni(b"a.example"),
            (16, b"\0\x05\x02\x2a\x2a\x01x"),
            (0xFAFA, bytes(9)),
        ],
        suites=b"\x0a\x0a\x13\x01",
    )
    assert read_client_hello(data) == ClientHello("a.example", (b"\x2a\x2a", b"x"))


@given(
    st.lists(st.integers(1, 120), max_size=15),
    st.integers(0, 2000),
    st.from_regex(r"([a-z0-9]{1,9}\.){0,3}[a-z]{1,9}", fullmatch=True),
    st.lists(st.sampled_from(["h2", "http/1.1", "x"]), max_size=3),
)
def test_any_records_and_any_part_of_them(sizes: list[int], cut: int, name: str, alpn: list[str]) -> None:
    """Whatever the records, the answer is the same; a part is never a hello, and what is needed is right."""
    whole = hello(name, alpn)
    expected = ClientHello(name, tuple(item.encode() for item in alpn))
    assert read_client_hello(whole) == expected
    data = in_records(whole[5:], sizes)
    assert read_client_hello(data + b"what follows") == expected
    part = data[: min(cut, len(data) - 1)]
    found = read_client_hello(part)
    assert isinstance(found, Incomplete)
    assert len(part) < found.needed <= len(data)
    looks = 0
    while isinstance(found, Incomplete):
        looks += 1
        found = read_client_hello(data[: found.needed])
    assert found == expected
    assert looks <= 2 * (len(sizes) + 1), "a client that drips is not looked at for each byte"


@given(st.binary(max_size=600))
def test_nothing_else_is_one(data: bytes) -> None:
    try:
        found = read_client_hello(data)
    except ValueError:
        return
    assert isinstance(found, Incomplete), "no random bytes are a hello"
    assert found.needed > len(data)


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_no_more_than_it_says(at: int, value: int) -> None:
    data = bytearray(hello())
    data[at % len(data)] = value
    try:
        found = read_client_hello(bytes(data))
    except ValueError:
        return
    assert isinstance(found, (ClientHello, Incomplete))


def test_of_many_random_changes_none_breaks_it() -> None:
    rng, whole = random.Random(7), hello(alpn=["h2"])
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(ValueError):
            read_client_hello(bytes(data[: rng.randrange(len(data) + 1)]))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "not TLS"),
        (b"G", "not TLS"),
        (b"\x16\x02", "not TLS"),
        (b"\x16\x03\x01\0\0", "too large"),
        (b"\x16\x03\x01\x40\x01", "too large"),
        (b"\x16\x03\x01\0\x05\x01\x01\0\0\0", "too large"),
        (b"\x16\x03\x01\0\x01\x02", "no ClientHello"),
        (b"\x15\x03\x01\0\x02\x01\0", "not TLS"),
        (in_records(hello()[5:], [1] * 40), "too many records"),
        (built([sni(b"a.example"), sni(b"b.example")]), "comes twice"),
        (built([sni(b"a.example\0.b.example")]), "no host name"),
        (built([sni(b"*.example")]), "no host name"),
        (built([sni(b"")]), "no host name"),
        (built([(0, b"\0\0")]), "longer than"),
        (built([(0, b"\0\x04\0\0\x01a" * 2)]), "not exactly one"),
        (built([(0, b"\0\x04\x01\0\x01a")]), "not exactly one"),
        (built([(16, b"\0\0")]), "list of protocols"),
        (built([(16, b"\0\x01\0")]), "list of protocols"),
        (built([], version=0x0203), "version of TLS"),
        (built([], suites=b""), "no cipher suites"),
        (built([], suites=b"\x13"), "no cipher suites"),
    ],
)
def test_what_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_client_hello(data)


def test_the_largest_that_is_taken() -> None:
    room = MOST - 5 * 2 - len(built([(21, b"")]))
    assert read_client_hello(built([(21, bytes(room))])) == ClientHello(None)
    with pytest.raises(ValueError, match="too large"):
        read_client_hello(built([(21, bytes(MOST))]))

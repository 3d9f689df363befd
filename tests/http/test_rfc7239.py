from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.http.rfc7239 import clients_of, element


@pytest.mark.parametrize(
    ("ip", "scheme", "host", "expected"),
    [
        ("192.0.2.7", "http", b"a.example", b"for=192.0.2.7;host=a.example;proto=http"),
        ("192.0.2.7", "https", b"a.example:81", b'for=192.0.2.7;host="a.example:81";proto=https'),
        ("2001:db8::1", "http", b"[::1]:80", b'for="[2001:db8::1]";host="[::1]:80";proto=http'),
        ("fe80::1%eth0", "http", b"", b'for="[fe80::1]";proto=http'),
        ("", "", b"", b"for=unknown"),
    ],
)
def test_an_element(ip: str, scheme: str, host: bytes, expected: bytes) -> None:
    assert element(ip, scheme, host) == expected
    assert clients_of([expected]) == [ip.partition("%")[0]]


@pytest.mark.parametrize(
    ("values", "clients"),
    [
        ([b"for=192.0.2.43, for=198.51.100.17"], ["192.0.2.43", "198.51.100.17"]),
        ([b"for=192.0.2.43", b'For="[2001:db8:cafe::17]:4711"'], ["192.0.2.43", "2001:db8:cafe::17"]),
        ([b'for="192.0.2.1:80";by=x;proto=http'], ["192.0.2.1"]),
        ([b'for="a, for=b";host=x , for="192.0.2.\\1"'], ["", "192.0.2.1"]),
        ([b"for=_hidden, for=unknown, proto=http"], ["", "", ""]),
        ([b'for="[192.0.2.1]"'], ["192.0.2.1"]),
        ([b"for=192.0.2.1;for=192.0.2.2"], []),
        ([b'for="192.0.2.1'], []),
        ([b"for=192.0.2.1 for=192.0.2.2"], []),
        ([b"for = 192.0.2.1"], []),
        ([b"for=[::1]"], []),
        ([b"192.0.2.1"], []),
    ],
)
def test_what_elements_tell(values: list[bytes], clients: list[str]) -> None:
    assert clients_of(values) == clients


@given(st.lists(st.ip_addresses().map(str), min_size=1, max_size=5))
def test_what_is_written_is_read(addresses: list[str]) -> None:
    assert clients_of([b", ".join(element(ip, "http", b"h:1") for ip in addresses)]) == addresses


@given(st.binary(max_size=40))
def test_no_text_hides_what_follows_it(text: bytes) -> None:
    """Whatever a neighbour sent: either it is refused whole, or what is added behind it is read as it is."""
    if clients_of([text]):
        assert clients_of([text, b"for=192.0.2.9"])[-1] == "192.0.2.9"

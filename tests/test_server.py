from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.server import Address, Server


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("localhost:0", Address("localhost", 0)),
        ("db-1.example.com:3306", Address("db-1.example.com", 3306)),
        ("[::1]:8080", Address("::1", 8080)),
        ("unix:/run/app.sock", Address(path="/run/app.sock")),
    ],
)
def test_parse(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("localhost", 'expected "host:port"'),
        (":80", "neither a host name nor an IP address"),
        ("http://db1:80", 'expected "host:port", and no URL'),
        ("::1:80", r'write IPv6 as "\[::1\]:80"'),
        ("[::1]", r'expected "\[v6\]:port"'),
        ("[::g]:80", '"::g" is no IPv6 address'),
        ("1.2.3.4.5:80", "neither a host name nor an IP address"),
        ("256.0.0.1:80", "neither a host name nor an IP address"),
        ("a" * 64 + ":80", "neither a host name nor an IP address"),
        ("a b:80", "neither a host name nor an IP address"),
        ("a:65536", "not a number from 0 to 65535"),
        ("a:-1", "not a number from 0 to 65535"),
        ("a:٣", "not a number from 0 to 65535"),
        ("a:", "not a number from 0 to 65535"),
        ("unix:relative", "unix:/absolute/path"),
        ("unix:/" + "x" * 110, "103 bytes"),
    ],
)
def test_parse_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Address.parse(text)


@given(st.text())
def test_parse_never_fails_otherwise(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "numeric"), [("10.0.0.1:1", True), ("[::1]:1", True), ("unix:/x", True), ("localhost:1", False)]
)
def test_is_numeric(text: str, numeric: bool) -> None:
    assert Address.parse(text).is_numeric is numeric


@pytest.mark.parametrize("weight", [-1, 257])
def test_weight_is_bounded(weight: int) -> None:
    with pytest.raises(ValueError, match="is not from 0 to 256"):
        Server("a", "127.0.0.1:1", weight=weight)


def test_max_connections_is_not_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        Server("a", "127.0.0.1:1", max_connections=-1)


def test_is_full() -> None:
    server = Server("a", "127.0.0.1:1", max_connections=2)
    assert not server.is_full
    server.open_sessions = 2
    assert server.is_full
    assert not Server("b", "127.0.0.1:1").is_full

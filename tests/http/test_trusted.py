from __future__ import annotations

import pytest

from lbkit.http.trusted import Trusted

SOME = Trusted(["192.0.2.0/24", "10.1.2.3", "2001:db8::/32"])


@pytest.mark.parametrize(
    "address", ["192.0.2.0", "192.0.2.255", "10.1.2.3", "2001:db8::1", "::ffff:192.0.2.9", "2001:db8::1%eth0"]
)
def test_who_is_in(address: str) -> None:
    assert address in SOME and address in SOME


@pytest.mark.parametrize(
    "address",
    ["192.0.3.0", "10.1.2.4", "2001:db9::1", "::ffff:192.0.3.9", "", "unix", "x", "127.0.0.1", None],
)
def test_who_is_not(address: object) -> None:
    assert address not in SOME and address not in SOME


def test_a_unix_socket_is_said_by_name() -> None:
    assert "" in Trusted(["unix"]) and "" not in Trusted([])


@pytest.mark.parametrize("name", ["192.0.2.1/24", "a", "", "192.0.2.0/33"])
def test_what_is_no_network(name: str) -> None:
    with pytest.raises(ValueError, match="."):
        Trusted([name])


def test_what_is_remembered_is_bounded() -> None:
    trusted = Trusted(["10.0.0.0/8"])
    for number in range(10_000):
        assert f"10.1.{number // 256}.{number % 256}" in trusted
    assert len(trusted._known) <= 4096

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.admin.changes import ServerChange, read_change, read_new_server
from lbkit.config import ServerConfig
from lbkit.errors import ConfigError
from lbkit.server import Address


def test_what_can_be_said() -> None:
    change = read_change(b'{"state": "maint", "weight": 0, "max_connections": 5, "address": "[::1]:80"}')
    assert change == ServerChange("maint", 0, 5, Address("::1", 80))
    assert read_change(b"{}") == ServerChange()
    new = read_new_server(b'{"name": "n", "address": "unix:/run/x", "weight": 256}')
    assert new == ServerConfig("n", Address(path="/run/x"), 256)


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        ('{"weight": 257, "max_connections": -1}', ["weight: 257 is not from 0 to 256", "max_connections: -1 is not from 0 to 1000000"]),
        ('{"state": "up"}', ['state: "up" is not one of ready, drain, maint (known: drain, maint, ready)']),
        ('{"weight": "5"}', ['weight: expected a whole number, got the string "5"']),
        ('{"address": "127.0.0.1:0"}', ["address: a server needs a port other than 0"]),
        ("[]", ["expected a table, got an array"]),
    ],
)  # fmt: skip
def test_every_problem_of_a_change(body: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_change(body.encode())
    assert list(caught.value.problems) == problems


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        ("{}", ['missing key "name"', 'missing key "address"']),
        ('{"name": "", "address": "a:1"}', ["name: a name must not be empty"]),
        ('{"name": "\\ud800", "address": "a:1"}', ["name: is not Unicode text"]),
    ],
)
def test_every_problem_of_a_new_server(body: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_new_server(body.encode())
    assert list(caught.value.problems) == problems


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
bodies = st.binary(max_size=40) | st.dictionaries(
    st.sampled_from(["name", "address", "weight", "state", "backup", "max_connections", "x"]), values
).map(lambda table: json.dumps(table).encode())


@given(bodies)
def test_any_body_is_a_change_or_its_problems(body: bytes) -> None:
    for read in (read_change, read_new_server):
        try:
            found = read(body)
        except ConfigError as error:
            assert error.problems
            assert all(line.isprintable() for line in error.problems)
        else:
            assert found.weight is None or 0 <= found.weight <= 256

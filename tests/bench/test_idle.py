from __future__ import annotations

import resource
from pathlib import Path

import pytest

from lbkit.bench.contenders import Contender, Route, select, server, started
from lbkit.bench.idle import bytes_per_connection, raise_file_limit
from lbkit.cluster.report import Silent
from lbkit.errors import ConfigError, StartFailed
from lbkit.server import Address
from tests.support.backends import free_address


def test_a_connection_costs_something_but_not_much(tmp_path: Path) -> None:
    (naive,) = select(Silent(), keys=["naive"]).contenders
    with server() as address, started(naive, address, tmp_path) as route:
        assert 1000 < bytes_per_connection(route, 200) < 100_000


def test_one_that_does_not_answer() -> None:
    route = Route(Contender("x", "X"), Address.parse(free_address()))
    with pytest.raises(StartFailed, match="X did not hold 10 connections: .*refused"):
        bytes_per_connection(route, 10)


def test_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: (100, 1000))
    monkeypatch.setattr(resource, "setrlimit", lambda what, values: limits.append(values))
    raise_file_limit(400)
    assert limits == [(1000, 1000)]
    with pytest.raises(ConfigError, match=r"--idle-connections 401: .* 1000 open files .* enough for 400"):
        raise_file_limit(401)
    monkeypatch.setattr(resource, "getrlimit", lambda what: (100, resource.RLIM_INFINITY))
    raise_file_limit(1_000_000)

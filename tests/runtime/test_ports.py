from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from lbkit.errors import StartFailed
from lbkit.runtime.ports import Ports
from lbkit.server import Address

ANY = Address("127.0.0.1", 0)


def test_each_worker_has_a_socket_on_the_same_port() -> None:
    ports = Ports(3)
    assert ports.take(ports.plan({"web": ANY})) == []
    port = ports["web"]
    numbers = {port.of(number).getsockname()[1] for number in (1, 2, 3)}
    assert numbers == {port.address.port}
    assert len({port.of(number).fileno() for number in (1, 2, 3)}) == 3
    ports.close()


def test_a_unix_socket_is_one_for_all(tmp_path: Path) -> None:
    path = tmp_path / "s"
    ports = Ports(3)
    ports.take(ports.plan({"web": Address(path=str(path))}))
    assert ports["web"].of(1) is ports["web"].of(3)
    ports.close()
    assert not path.exists()


def test_a_change_keeps_what_stays_and_closes_what_goes() -> None:
    ports = Ports(2)
    ports.take(ports.plan({"web": ANY, "old": ANY}))
    web, old = ports["web"], ports["old"]
    planned = ports.plan({"web": ANY, "new": ANY})
    assert ports.new(planned) == ["new"]
    assert ports.take(planned) == [old]
    assert ports["web"] is web
    ports.undo(ports.plan({"web": ANY}))
    assert web.of(1).fileno() >= 0, "what was there is not new"
    undone = ports.plan({"web": ANY, "other": ANY})
    ports.undo(undone)
    assert undone["other"].of(1).fileno() == -1
    old.close()
    ports.close()


def test_a_listener_with_another_name_keeps_its_port() -> None:
    ports = Ports(2)
    ports.take(ports.plan({"web": ANY}))
    fixed = ports["web"].address
    ports.close()
    ports.take(ports.plan({"web": fixed}))
    web = ports["web"]
    assert ports.take(ports.plan({"site": fixed})) == []
    assert ports["site"] is web
    ports.close()


def test_an_address_in_use_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = Ports(2)
        free = Address("127.0.0.1", _free())
        with pytest.raises(StartFailed, match="in use"):
            ports.plan({"free": free, "taken": Address("127.0.0.1", taken.getsockname()[1])})
        with socket.socket() as probe:
            assert probe.connect_ex((free.host, free.port)) == errno.ECONNREFUSED


def test_a_port_that_another_balancer_shares_among_its_workers_is_in_use() -> None:
    ports, others = Ports(2), Ports(2)
    ports.take(ports.plan({"web": ANY}))
    with pytest.raises(StartFailed, match="in use"):
        others.plan({"web": ports["web"].address})
    ports.close()


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])

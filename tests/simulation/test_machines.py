from __future__ import annotations

import math

import pytest

from lbkit.simulation.machines import Machine, Request, Sharing, make_machine
from lbkit.simulation.scenario import ServerSpec
from tests.support.servers import make_pool, make_servers


def make(**spec: object) -> Machine:
    return make_machine(0, "a", ServerSpec(**spec))  # type: ignore[arg-type]


def request(machine: Machine, now: float, work: float) -> Request:
    (server,) = make_servers(1)
    return Request(make_pool(server), server, machine, now, now, work, None)


def admit(machine: Machine, now: float, work: float) -> float:
    return machine.admit(request(machine, now, work), now)


def test_one_slot_serves_in_order() -> None:
    machine = make()
    assert [admit(machine, 0.0, 2.0), admit(machine, 0.5, 1.0), admit(machine, 10.0, 1.0)] == [2, 3, 11]
    assert machine.in_flight == 3


def test_two_slots() -> None:
    machine = make(concurrency=2)
    assert [admit(machine, 0, work) for work in (4.0, 1.0, 1.0, 5.0)] == [4, 1, 2, 7]


def test_a_slot_for_everybody() -> None:
    machine = make(concurrency=0)
    assert [admit(machine, 1.0, work) for work in (4.0, 1.0, 2.0)] == [5, 2, 3]


@pytest.mark.parametrize("concurrency", [0, 1, 2])
def test_a_faster_machine(concurrency: int) -> None:
    assert admit(make(concurrency=concurrency, speed=2.0), 1.0, 3.0) == 2.5


@pytest.mark.parametrize("concurrency", [0, 1, 2])
def test_a_change_of_speed_moves_what_is_in_it(concurrency: int) -> None:
    machine = make(concurrency=concurrency)
    there = request(machine, 0.0, 4.0)
    assert machine.admit(there, 0.0) == 4
    machine.set_speed(0.5, 2.0)
    assert machine.due(there, 2.0) == 6
    machine.set_speed(0.0, 3.0)
    assert machine.due(there, 3.0) == math.inf
    machine.set_speed(1.5, 10.0)
    assert machine.due(there, 10.0) == 11


@pytest.mark.parametrize("concurrency", [1, 2])
def test_what_is_lost_makes_room(concurrency: int) -> None:
    machine = make(concurrency=concurrency)
    for _ in range(4):
        admit(machine, 0.0, 100.0)
    machine.clear(5.0)
    assert machine.in_flight == 0
    assert admit(machine, 5.0, 1.0) == 6


def sharing(**spec: object) -> Sharing:
    machine = make(discipline="sharing", **spec)
    assert isinstance(machine, Sharing)
    return machine


def test_sharing_one_slot() -> None:
    """Work 1 and 2 together: the first ends when both have got 1, at 2, and the other at 3."""
    machine = sharing()
    one, two = request(machine, 0, 1.0), request(machine, 0, 2.0)
    machine.admit(two, 0.0)
    machine.admit(one, 0.0)
    assert machine.next_due() == 2
    assert machine.take_done(2.0) == [one]
    assert machine.next_due() == 3
    assert machine.take_done(3.0) == [two]
    assert machine.next_due() == math.inf


def test_sharing_is_no_faster_than_a_slot_each() -> None:
    machine = sharing(concurrency=4)
    for _ in range(3):
        admit(machine, 0.0, 2.0)
    assert machine.next_due() == 2
    for _ in range(5):
        admit(machine, 1.0, 2.0)
    assert machine.next_due() == 3  # 8 on 4 slots: the rest of 1 takes 2


def test_sharing_and_a_change_of_speed() -> None:
    machine = sharing()
    admit(machine, 0.0, 4.0)
    machine.set_speed(0.5, 2.0)
    assert machine.next_due() == 6
    machine.set_speed(0.0, 3.0)
    assert machine.next_due() == math.inf


def test_dropping_makes_the_others_faster() -> None:
    machine = sharing()
    one, two = request(machine, 0, 2.0), request(machine, 0, 2.0)
    machine.admit(one, 0.0)
    machine.admit(two, 0.0)
    machine.drop(one, 2.0)
    machine.drop(one, 2.0)
    assert machine.in_flight == 1
    assert machine.requests() == [two]
    assert machine.next_due() == 3
    machine.clear(2.5)
    assert (machine.in_flight, machine.requests()) == (0, [])


def test_what_a_probe_is_told() -> None:
    machine = make()
    assert machine.latency() is None
    for seconds in (0.1, 0.2, 0.9):
        machine.remember(2, seconds)
    machine.remember(9, 5.0)
    machine.in_flight = 2
    assert machine.latency() == 0.2
    machine.in_flight = 4
    assert machine.latency() == 0.2
    machine.in_flight = 8
    assert machine.latency() == 5


def test_a_fresh_try() -> None:
    (server,) = make_servers(1)
    pool = make_pool(server)
    request = Request(pool, server, make_machine(0, "a", ServerSpec()), 1.0, 2.0, 0.5, b"k")
    assert request.is_open
    assert not request.is_retry
    assert (request.began, request.sent, request.work, request.tried) == (1.0, 2.0, 0.5, ())

"""`simulate`: a scenario and algorithms in, one `Result` for each out."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Callable, Iterable, Sequence

from lbkit.balancing import ALGORITHMS
from lbkit.health import OutlierRules
from lbkit.pool import HealthRules, Pool, PoolSettings, make_balancer
from lbkit.registry import nearest
from lbkit.server import Address, Server
from lbkit.simulation.engine import Engine, Progress
from lbkit.simulation.machines import Machine, make_machine
from lbkit.simulation.result import Result, server_results
from lbkit.simulation.scenario import Scenario, ServerSpec
from lbkit.simulation.trace import Trace

__all__ = ["AS_RECORDED", "PoolMaker", "Stream", "simulate", "simulate_one"]

AS_RECORDED = "as recorded"
"""In place of an algorithm: every request goes to the server that the trace names."""

PoolMaker = Callable[[int, list[Server]], Pool]
"""Makes the pool of balancer number 0, 1, … from fresh servers, one for each simulated machine."""

Stream = Iterable[tuple[float, float, bytes | None, str | None]]
"""Requests in order: when, seconds of work, key, recorded server."""


def simulate(
    scenario: Scenario,
    algorithms: Sequence[str] | None = None,
    *,
    progress: Callable[[str, int, float], None] | None = None,
) -> list[Result]:
    """Run *algorithms* (None: the scenario's) one after the other on the same requests.

    *progress* is told algorithm, requests so far and virtual time now and then. Raises ValueError for an
    unknown algorithm.
    """
    results = []
    for name in scenario.algorithms if algorithms is None else algorithms:
        told: Progress | None = None
        if progress is not None:

            def told(requests: int, now: float, name: str = name) -> None:
                progress(name, requests, now)

        results.append(simulate_one(scenario, name, progress=told))
    return results


def simulate_one(
    scenario: Scenario,
    algorithm: str,
    *,
    make_pool: PoolMaker | None = None,
    stream: Stream | None = None,
    picks: array[int] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run one algorithm.

    *make_pool* is for pools that are more than a scenario can say, such as one read from a live
    configuration; it must use every server that it is given and name none otherwise. *stream* replaces the
    scenario's requests. *picks* (an array of type ``I``) gets the number of the server of each pick. The same
    arguments give the same result. Raises ValueError for an unknown algorithm.
    """
    as_recorded = algorithm == AS_RECORDED
    if as_recorded:
        _check_recorded(scenario)
    elif make_pool is None and algorithm not in ALGORITHMS:
        raise ValueError(f'unknown algorithm "{algorithm}"{nearest(algorithm, ALGORITHMS, listed=True)}')
    machines = _machines(scenario)
    make = make_pool or _pool_maker(scenario, "round_robin" if as_recorded else algorithm)
    pools, machine_of = [], {}
    for number in range(scenario.balancers):
        servers = [_server(machine.name, place, machine.spec) for place, machine in enumerate(machines)]
        pool = make(number, servers)
        pools.append(pool)
        machine_of.update(
            {pool[machine.name]: machine for machine in machines}  # a pool may keep other objects
        )
    engine = Engine(scenario, pools, machines, machine_of, picks=picks, as_recorded=as_recorded)
    engine.run(scenario.stream() if stream is None else stream, progress)
    return _result(algorithm, engine)


def _machines(scenario: Scenario) -> list[Machine]:
    named = [(name, spec) for spec in scenario.servers for name in spec.names()]
    return [make_machine(index, name, spec) for index, (name, spec) in enumerate(named)]


def _server(name: str, place: int, spec: ServerSpec) -> Server:
    # Addresses of their own, as hashing algorithms need; nobody connects to them.
    address = Address(f"10.{place >> 16 & 255}.{place >> 8 & 255}.{place & 255}", 80)
    return Server(
        name,
        address,
        weight=spec.weight,
        backup=spec.backup,
        max_connections=spec.max_connections,
        slow_start=spec.slow_start,
    )


def _pool_maker(scenario: Scenario, algorithm: str) -> PoolMaker:
    spec, health = scenario.pool, scenario.health
    settings = PoolSettings(
        retries=scenario.retries,
        retry_percent=spec.retry_percent,
        retry_minimum=spec.retry_minimum,
        max_queue=spec.max_queue,
        panic_threshold=spec.panic_threshold,
    )
    outlier = None if scenario.outlier is None else OutlierRules(**dataclasses.asdict(scenario.outlier))
    rules = HealthRules(
        checked=health is not None,
        rise=2 if health is None else health.rise,
        fall=3 if health is None else health.fall,
        passive=scenario.passive,
        outlier=outlier,
    )

    def make(number: int, servers: list[Server]) -> Pool:
        rng = scenario.rng(f"balancer {number}")
        balancer = make_balancer(algorithm, rng, scenario.options.get(algorithm))
        return Pool(f"balancer {number + 1}", servers, balancer, rules=rules, settings=settings)

    return make


def _check_recorded(scenario: Scenario) -> None:
    trace = scenario.arrivals
    if not isinstance(trace, Trace):
        raise ValueError("only a trace says where its requests went")
    known = {name for spec in scenario.servers for name in spec.names()}
    for server in trace.servers:
        if server not in known:
            raise ValueError(
                "a request of the trace names no server"
                if server is None
                else f'the trace names a server "{server}" that the scenario has not'
            )


def _result(algorithm: str, engine: Engine) -> Result:
    picks = [0] * len(engine.machines)
    for pool in engine.pools:
        for server in pool:
            picks[engine.machine_of[server].index] += server.counters.picks
    record = engine.record
    return Result(
        algorithm=algorithm,
        requests=record.counted,
        errors=record.errors,
        latency=record.latency,
        failed=record.failed,
        retries=engine.retries,
        duration=engine.lasted,
        windows=record.windows,
        servers=server_results([machine.name for machine in engine.machines], picks, record.windows),
    )

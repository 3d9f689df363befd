"""Pools as configured: the pure `Pool`, and `RunningPool` with the probers that keep it informed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from types import MappingProxyType

from lbkit.balancing import Balancer
from lbkit.checks import AT_A_TIME, CHECKS, HealthCheck, Prober, judge, report
from lbkit.checks.agent import AgentCheck, AgentCheckOptions
from lbkit.config import PoolConfig, ServerConfig
from lbkit.errors import Exhausted
from lbkit.health import HealthState, Intervals, OutlierRules, PassiveRules, parse_advice
from lbkit.pool import Change, HealthRules, Known, Pool, PoolSettings, Standing, make_balancer
from lbkit.proxy_protocol import build
from lbkit.runtime.messages import Result
from lbkit.runtime.part import Part
from lbkit.runtime.shares import Share
from lbkit.server import Address, Server
from lbkit.tls import ClientTls

__all__ = ["FirstResults", "RunningPool", "first_results", "make_pool", "make_server"]

logger = logging.getLogger("lbkit.health")

FirstResults = dict[str, tuple[bool, str]]
"""By server: what its first check said."""


def make_pool(name: str, config: PoolConfig, seed: int | None = None, now: float = 0.0) -> Pool:
    """The pool that *config* describes; *seed* makes its picks reproducible."""
    return Pool(
        name,
        _servers(config),
        _balancer(name, config, seed),
        rules=_rules(config),
        settings=_settings(config),
        now=now,
    )


class RunningPool:
    """A pool that takes part in live traffic; its checks, if *part* has them, run until they are stopped."""

    def __init__(
        self,
        config: PoolConfig,
        pool: Pool,
        seed: int | None,
        part: Part | None = None,
        tls: ClientTls | None = None,
        cut: Callable[[Server], None] = lambda server: None,
    ) -> None:
        """*tls* is how connections to its servers are secured, those of checks too. *cut* ends the tcp
        sessions with a server."""
        self._cut = cut
        self.config = config
        self.pool = pool
        self.tls = tls
        self._part = part or Part()
        self._is_told = False
        pool.driven = True  # sessions and requests look at the time for it
        pool.on_change = self._changed
        pool.on_suspect = self._hurry
        self._seed = seed
        self._start_probers()

    def _start_probers(self) -> None:
        self._prober = self._make_prober()
        self._agent = self._make_agent()
        for prober in (self._prober, self._agent):
            if prober is not None:
                prober.start()

    def change(self, config: PoolConfig, tls: ClientTls | None = None) -> Iterable[Prober]:
        """Become what *config* says, servers and all, in place. Returns probers that are to be stopped."""
        old, self.config = self.config, config
        old_tls, self.tls = self.tls, tls
        same = (old.algorithm, old.options) == (config.algorithm, config.options)
        now = asyncio.get_running_loop().time()
        with self.pool.together(now):
            self.pool.reconfigure(
                _servers(config),
                balancer=None if same else _balancer(self.pool.name, config, self._seed),
                rules=_rules(config),
                settings=_settings(config),
                now=now,
            )
            if _advisers(old) - _advisers(config):
                self.pool.forget_advice(now)
        if (old.health, old.agent, old.send_proxy, old_tls) == (
            config.health,
            config.agent,
            config.send_proxy,
            tls,
        ):
            self.refresh()
            return ()
        ended = self.probers()
        self._start_probers()
        return ended

    def refresh(self) -> None:
        """Servers were added or removed."""
        for prober in self.probers():
            prober.refresh()

    def take(self, results: FirstResults) -> None:
        """What the first checks of new servers said."""
        health = self.config.health
        assert health is not None and self._prober is not None
        check = _check(self.config, self.tls)
        with self.pool.together(asyncio.get_running_loop().time()):
            for name, (passed, reason) in results.items():
                report(self.pool, check, self.pool[name], passed, reason)
                self._prober.seen(self.pool[name], passed)

    def learn(self, known: Sequence[Known]) -> list[Server]:
        """Become what another process knows of the pool. Returns the servers that have left."""
        before = list(self.pool)
        with self._told():
            self.pool.learn(known, asyncio.get_running_loop().time())
        left = set(before) - set(self.pool)
        return [server for server in before if server in left]

    def hear(self, results: Iterable[Result], share: Share) -> None:
        """What the checks of another process said; results for servers that are not here are dropped."""
        now = asyncio.get_running_loop().time()
        with self._told(), self.pool.together(now):
            for one in results:
                if one.server not in self.pool or str(self.pool[one.server].address) != one.address:
                    continue
                if one.passed and one.advises:
                    self.pool.advise(one.server, share.advice(parse_advice(one.reason)), now)
                if one.counts:
                    self.pool.observe(one.server, one.passed, one.reason, now)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What changes within the block was said in the log of the process where it came from."""
        self._is_told = True
        try:
            yield
        finally:
            self._is_told = False

    def probers(self) -> list[Prober]:
        """Those that run."""
        return [prober for prober in (self._prober, self._agent) if prober is not None]

    def knows(self, server: ServerConfig) -> bool:
        """Whether this very server is in the pool, and was looked at."""
        if server.name not in self.pool:
            return False
        same = self.pool[server.name].address == server.address
        return same and self.pool.health(server.name).state is not HealthState.UNKNOWN

    def _make_prober(self) -> Prober | None:
        health = self.config.health
        if health is None or not self._part.checks:
            return None
        intervals = Intervals(health.interval, health.fast_interval, health.down_interval, health.jitter)
        check = _check(self.config, self.tls)
        for server in self.pool:
            if self.pool.health(server.name).state is HealthState.UP:
                check.passed_before(server.address)
        return Prober(
            self.pool,
            check,
            intervals,
            timeout=health.timeout,
            rng=_rng(f"checks of {self.pool.name}", self._seed),
            on_result=partial(self._part.checked, self.pool.name, advises=check.advises, counts=True),
        )

    def _make_agent(self) -> Prober | None:
        agent = self.config.agent
        if agent is None or not self._part.checks:
            return None
        return Prober(
            self.pool,
            AgentCheck(AgentCheckOptions(agent.port)),
            Intervals(agent.interval),
            timeout=agent.timeout,
            counts=False,
            rng=_rng(f"agents of {self.pool.name}", self._seed),
            on_result=partial(self._part.checked, self.pool.name, advises=True, counts=False),
        )

    def _hurry(self, server: Server) -> None:
        if self._prober is not None:
            self._prober.hurry(server)
        elif not self._part.checks:
            self._part.suspects(self.pool.name, server)

    def hurry(self, name: str) -> None:
        """Another process has errors with the server called *name*: check it soon."""
        if name in self.pool:
            self._hurry(self.pool[name])

    def _changed(self, change: Change) -> None:
        self._log(change)
        if change.standing is Standing.DOWN and self.config.cuts:
            # Not at once: the pool is in the middle of its change, and sessions that end are told to it.
            asyncio.get_running_loop().call_soon(self._cut, change.server)

    def _log(self, change: Change) -> None:
        level = logging.INFO if change.standing is Standing.UP else logging.WARNING
        if self._is_told:
            level = logging.DEBUG
        logger.log(
            level,
            "pool %s: server %s is %s: %s",
            self.pool.name,
            change.server.name,
            change.standing.value,
            change.reason,
        )


async def first_results(
    pools: dict[str, PoolConfig],
    running: dict[str, RunningPool],
    tls: Mapping[str, ClientTls] = MappingProxyType({}),
) -> dict[str, FirstResults]:
    """Check every new server of a checked pool once, many at the same time; by pool and server."""
    room = asyncio.Semaphore(AT_A_TIME)

    async def first(check: HealthCheck, address: Address, timeout: float) -> tuple[bool, str]:
        async with room:
            try:
                return await judge(check, address, timeout)
            except Exhausted as reason:
                return False, f"not checked: {reason}"  # and so not ready; its next check may say better

    new = [
        (name, server.name, first(_check(config, tls.get(name)), server.address, config.health.timeout))
        for name, config in pools.items()
        if config.health is not None
        for server in config.servers
        if name not in running or not running[name].knows(server)
    ]
    answers = await asyncio.gather(*(check for _, _, check in new))
    results: dict[str, FirstResults] = {}
    for (pool, server, _), answer in zip(new, answers, strict=True):
        results.setdefault(pool, {})[server] = answer
    return results


def _check(config: PoolConfig, tls: ClientTls | None = None) -> HealthCheck:
    assert config.health is not None
    check = CHECKS[config.health.check].factory(config.health.options)
    if config.send_proxy != "off":
        check.introduction = build(config.send_proxy)
    check.tls = tls
    return check


def _advisers(config: PoolConfig) -> set[str]:
    """Where agents are asked: ``"agent"`` in a section of their own, ``"check"`` as the pool's check."""
    own = set() if config.agent is None else {"agent"}
    return own | ({"check"} if config.health is not None and _check(config).advises else set())


def _balancer(name: str, config: PoolConfig, seed: int | None) -> Balancer:
    return make_balancer(config.algorithm, _rng(f"pool {name}", seed), config.options)


def _rng(purpose: str, seed: int | None) -> random.Random:
    """A generator of its own for each purpose, so that one seed repeats each whatever the others do."""
    return random.Random(None if seed is None else f"{seed} {purpose}")


def make_server(config: ServerConfig) -> Server:
    """The server that *config* describes."""
    return Server(
        config.name,
        config.address,
        weight=config.weight,
        backup=config.backup,
        max_connections=config.max_connections,
        slow_start=config.slow_start,
    )


def _servers(config: PoolConfig) -> list[Server]:
    return [make_server(item) for item in config.servers]


def _rules(config: PoolConfig) -> HealthRules:
    # The tables of a configuration have the same fields: neither level may import the other.
    ejecting = None if config.outlier is None else OutlierRules(**asdict(config.outlier))
    health = config.health
    if health is None:
        return HealthRules(outlier=ejecting)
    passive = None
    if health.observe != "off":
        passive = PassiveRules(health.observe, health.error_limit, health.on_error)
    return HealthRules(True, health.rise, health.fall, passive, ejecting)


def _settings(config: PoolConfig) -> PoolSettings:
    return PoolSettings(
        config.retries,
        config.retry_percent,
        config.retry_minimum,
        config.max_queue,
        config.panic_threshold,
        "" if config.send_proxy == "off" else config.send_proxy,
    )

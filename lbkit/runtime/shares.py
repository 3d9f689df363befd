"""What of a configuration one worker of several gets: limits are of the whole, so each has a share of them.

A share is at least 1, or a small limit would leave a worker without any: there the shares may add up to more
than the whole. A firewall's limits of one client are shared, too: its connections come to the workers by
chance, so that a client near its limit is denied a little early, and one whose requests all come on few
connections has only those workers' shares. Each worker bans for itself. What is measured against a worker's
own traffic (`retry_percent`, `observe`, `outlier`, `panic_threshold`) is the same in each.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from lbkit.config import Config, FirewallConfig, GlobalConfig, ListenerConfig, PoolConfig
from lbkit.firewall import Rate
from lbkit.health import Advice
from lbkit.pool import Known

__all__ = ["Share"]


@dataclass(frozen=True, slots=True)
class Share:
    """Worker *number*, from 1, of *workers*."""

    number: int
    workers: int

    def of(self, limit: int) -> int:
        """This worker's part of *limit*; 0, which is no limit or nothing at all, stays 0."""
        if limit <= 0:
            return limit
        each, rest = divmod(limit, self.workers)
        return max(1, each + (self.number <= rest))

    def config(self, config: Config) -> Config:
        """The worker's configuration: the administration is the parent's."""
        return replace(
            config,
            global_=self._global(config.global_),
            admin=None,
            listeners={name: self._listener(item) for name, item in config.listeners.items()},
            pools={name: self._pool(item) for name, item in config.pools.items()},
        )

    def _global(self, config: GlobalConfig) -> GlobalConfig:
        """Workers that drew the same numbers would all pick the same server at the same time."""
        if config.seed is None:
            return config
        digest = hashlib.blake2b(f"{config.seed} worker {self.number}".encode(), digest_size=7).digest()
        return replace(config, seed=int.from_bytes(digest, "big"))

    def _listener(self, config: ListenerConfig) -> ListenerConfig:
        return replace(
            config,
            max_connections=self.of(config.max_connections),
            max_connecting=self.of(config.max_connecting),
            firewall=None if config.firewall is None else self._firewall(config.firewall),
        )

    def _firewall(self, config: FirewallConfig) -> FirewallConfig:
        return replace(
            config,
            connection_rate=self.rate(config.connection_rate),
            request_rate=self.rate(config.request_rate),
            max_connections_per_client=self.of(config.max_connections_per_client),
            ban_after=self.of(config.ban_after),
            max_clients=self.of(config.max_clients),
        )

    def rate(self, rate: Rate | None) -> Rate | None:
        """This worker's part of *rate*, of the burst at least 1."""
        return None if rate is None else rate.share(self.workers, self.of(rate.burst))

    def _pool(self, config: PoolConfig) -> PoolConfig:
        servers = tuple(
            replace(server, max_connections=self.of(server.max_connections)) for server in config.servers
        )
        return replace(
            config,
            servers=servers,
            max_queue=self.of(config.max_queue),
            retry_minimum=self.of(config.retry_minimum),
        )

    def known(self, known: Known) -> Known:
        """What the parent knows of a server, with this worker's limits."""
        limit = known.agent_limit
        return replace(
            known,
            max_connections=self.of(known.max_connections),
            agent_limit=None if limit is None else self.of(limit),
        )

    def advice(self, advice: Advice) -> Advice:
        """What an agent says, for this worker."""
        return advice if advice.limit is None else replace(advice, limit=self.of(advice.limit))

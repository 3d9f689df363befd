"""`Member`: a server of a pool with all that is known of it, and the standing that follows from that."""

from __future__ import annotations

import math
from enum import Enum

from lbkit.health import Advice, ErrorCounter, Health, HealthState
from lbkit.health.slow_start import STEPS, next_step, sixteenths
from lbkit.server import Server

__all__ = ["AdminState", "Member", "Standing"]


class AdminState(Enum):
    """What the operator, or the server's agent, wants (HAProxy's runtime states).

    DRAIN takes no new sessions but those that stick to the server; MAINT takes none at all.
    """

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class Standing(Enum):
    """A server's state, all things considered. Only UP takes new traffic (in a panic others do too)."""

    UP = "up"
    UNKNOWN = "unknown"
    DOWN = "down"
    EJECTED = "ejected"
    DRAIN = "drain"
    MAINT = "maint"


class Member:
    """One server of a pool. `judge` works out `standing` and `why` from everything else.

    What survives a reload: health, the operator's state, the agent's advice, and a weight changed at run time
    as long as the configured one stays the same.
    """

    __slots__ = (
        "admin",
        "agent_limit",
        "agent_percent",
        "agent_reason",
        "agent_state",
        "agent_up",
        "changed_at",
        "configured_limit",
        "configured_weight",
        "errors",
        "health",
        "ready_since",
        "server",
        "standing",
        "why",
    )

    def __init__(self, server: Server, health: Health) -> None:
        self.server = server
        self.health = health
        self.admin = AdminState.READY
        self.configured_weight = server.weight
        self.configured_limit = server.max_connections
        self.forget_advice()
        self.errors = ErrorCounter()
        self.ready_since = -math.inf
        self.changed_at = 0.0
        """When `standing` became what it is, monotonic seconds."""
        self.standing = Standing.UNKNOWN
        self.why = health.reason

    def reconfigure(self, server: Server) -> None:
        """Take weight, flags and limits of *server*, which a new configuration made of the same one."""
        mine = self.server
        if server.weight != self.configured_weight:
            mine.weight = self.configured_weight = server.weight
        if server.max_connections != self.configured_limit:
            mine.max_connections = self.configured_limit = server.max_connections
        mine.backup = server.backup
        mine.slow_start = server.slow_start

    def forget_advice(self) -> None:
        """As if its agent had never said anything."""
        self.agent_percent = 100
        self.agent_limit: int | None = None
        self.agent_state = AdminState.READY
        self.agent_up = True
        self.agent_reason = ""

    def take(self, advice: Advice) -> None:
        """What the server's agent says now."""
        if advice.percent is not None:
            self.agent_percent = advice.percent
        if advice.limit is not None:
            self.agent_limit = advice.limit
        if advice.state is not None:
            self.agent_state = AdminState(advice.state)
        if advice.up is not None:
            self.agent_up = advice.up
        self.agent_reason = advice.reason

    def judge(self, now: float, ejected: bool) -> None:
        """Work out `standing` and why; a server that becomes ready starts slowly from now on."""
        before = self.standing
        self.standing, self.why = self._standing(ejected)
        if self.standing is not before:
            self.changed_at = now
        if self.standing is Standing.UP and before is not Standing.UP:
            self.ready_since = now
        self._settle(now)

    def explain(self) -> None:
        """Bring `why` up to date, where `standing` stays what it is."""
        self.why = self._standing(self.standing is Standing.EJECTED)[1]

    def _standing(self, ejected: bool) -> tuple[Standing, str]:
        agent = f"agent: {self.agent_reason}" if self.agent_reason else "by its agent"
        if self.admin is AdminState.MAINT:
            return Standing.MAINT, "by the operator"
        if self.agent_state is AdminState.MAINT:
            return Standing.MAINT, agent
        if self.health.state is not HealthState.UP:
            return Standing(self.health.state.value), self.health.reason
        if not self.agent_up:
            return Standing.DOWN, agent
        if self.admin is AdminState.DRAIN:
            return Standing.DRAIN, "by the operator"
        if self.agent_state is AdminState.DRAIN or not self.agent_percent:
            return Standing.DRAIN, agent
        if self.server.weight == 0:
            return Standing.DRAIN, "weight 0"
        if ejected:
            return Standing.EJECTED, "failed more than the others"
        return Standing.UP, self.health.reason

    def _settle(self, now: float) -> None:
        """What slow start and the agent leave of weight and limit, in sixteenths."""
        server = self.server
        part = sixteenths(self.ready_since, server.slow_start, now)
        weight = server.weight * part
        if self.agent_percent != 100 and weight:
            weight = max(1, round(weight * self.agent_percent / 100)) if self.agent_percent else 0
        server.effective_weight = weight / STEPS
        limit = server.max_connections if self.agent_limit is None else self.agent_limit
        server.limit = math.ceil(limit * part / STEPS)

    def start_at_once(self) -> None:
        """It is ready and always was: no slow start."""
        self.ready_since = -math.inf

    def next_step(self, now: float) -> float:
        """When slow start gives it more; infinity when it has all."""
        if self.standing is not Standing.UP:
            return math.inf
        return next_step(self.ready_since, self.server.slow_start, now)

    @property
    def is_wanted(self) -> bool:
        """Whether operator and agent let it take traffic, whatever its health."""
        states = (self.admin, self.agent_state)
        return all(state is AdminState.READY for state in states) and self.server.effective_weight > 0

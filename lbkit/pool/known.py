"""`Known`: all that one pool knows of a server, as values that another process can be told.

Ages in place of times: the clocks of two processes need not agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lbkit.health import Health, HealthState
from lbkit.pool.member import AdminState, Member
from lbkit.server import Server

__all__ = ["Known"]


@dataclass(frozen=True, slots=True)
class Known:
    """One server at one moment: what it is, what operator and agent want of it, and its health.

    `ready_for` and `unchanged_for` are seconds; None is since ever.
    """

    name: str
    address: str
    weight: int
    backup: bool
    max_connections: int
    slow_start: float
    admin: str
    agent_percent: int
    agent_limit: int | None
    agent_state: str
    agent_up: bool
    agent_reason: str
    health: str
    streak: int
    reason: str
    unchanged_for: float
    ready_for: float | None

    @classmethod
    def of(cls, member: Member, now: float) -> Known:
        """What is known of *member*."""
        server, health = member.server, member.health
        return cls(
            server.name,
            str(server.address),
            server.weight,
            server.backup,
            server.max_connections,
            float(server.slow_start),
            member.admin.value,
            member.agent_percent,
            member.agent_limit,
            member.agent_state.value,
            member.agent_up,
            member.agent_reason,
            health.state.value,
            health.streak,
            health.reason,
            now - health.changed_at,
            None if member.ready_since == -math.inf else now - member.ready_since,
        )

    def server(self) -> Server:
        """A server such as this one."""
        return Server(
            self.name,
            self.address,
            weight=self.weight,
            backup=self.backup,
            max_connections=self.max_connections,
            slow_start=self.slow_start,
        )

    def teach(self, member: Member, now: float) -> None:
        """Give it to *member*, which then must be judged anew.

        Its health is taken only where the member has none yet: later it goes by results of its own.
        """
        member.admin = AdminState(self.admin)
        member.agent_percent = self.agent_percent
        member.agent_limit = self.agent_limit
        member.agent_state = AdminState(self.agent_state)
        member.agent_up = self.agent_up
        member.agent_reason = self.agent_reason
        if member.health.state is HealthState.UNKNOWN:
            self._restore(member.health, now)

    def _restore(self, health: Health, now: float) -> None:
        health.state = HealthState(self.health)
        health.streak = self.streak
        health.reason = self.reason
        health.changed_at = now - self.unchanged_for

    def ready_since(self, now: float) -> float:
        """When it became ready, by the clock that says *now*."""
        return -math.inf if self.ready_for is None else now - self.ready_for

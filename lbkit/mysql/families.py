"""What a router's servers and pools have done, as families of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lbkit.metrics import Family
from lbkit.mysql.connection_pool import PoolCounters
from lbkit.mysql.topology import Role, Topology

__all__ = ["families"]

_COUNTED = {
    "acquired": "Times a connection was handed out.",
    "opened": "Connections opened.",
    "refused": "Connections that did not come about.",
    "queued": "Users that had to wait for a connection in use.",
    "gave_up": "Users that waited for a connection for too long.",
    "waited": "Seconds that users waited for a connection in use.",
    "resets": "Sessions reset before their connection's next user.",
    "dropped": "Connections closed because they, or a statement on them, were broken off.",
    "retired": "Connections closed for their age, or because nobody needed them.",
}


def families(
    topology: Topology, counts: Mapping[str, Mapping[str, int]], counters: Mapping[str, PoolCounters]
) -> list[Family]:
    """One sample for each server; *counts* and *counters* of the pools are by the servers' names."""

    def family(
        name: str, text: str, values: Mapping[str, float], kind: Literal["counter", "gauge"] = "gauge"
    ) -> Family:
        return Family(
            f"lbkit_router_{name}", text, kind, ["server"], {(key,): value for key, value in values.items()}
        )

    members = topology.members
    found = [
        family("up", "1 for a server that answers.", {member.name: member.up for member in members}),
        family(
            "primary",
            "1 for the server that takes writes.",
            {
                member.name: topology.role(member) is Role.PRIMARY and member is topology.primary
                for member in members
            },
        ),
        family(
            "lag_seconds",
            "How far a server is behind; without a sample where that is not known.",
            {member.name: member.lag for member in members if member.lag is not None},
        ),
        family(
            "statements",
            "Statements and transactions sent to a server.",
            {member.name: member.server.counters.requests for member in members},
            "counter",
        ),
    ]
    for state in ("open", "idle", "waiting", "limit"):
        text = "Users waiting for a connection." if state == "waiting" else f"Connections: {state}."
        found.append(family(f"pool_{state}", text, {name: pool[state] for name, pool in counts.items()}))
    for name, text in _COUNTED.items():
        values = {server: getattr(pool, name) for server, pool in counters.items()}
        found.append(family(f"pool_{name}{'_seconds' * (name == 'waited')}", text, values, "counter"))
    return found

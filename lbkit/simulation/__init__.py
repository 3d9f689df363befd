"""Virtual time: the balancers and pools that run live, on simulated servers and requests.

`load_scenario` reads a TOML file and `simulate` runs it; `Scenario` can as well be made in Python. `PAPERS`,
in `lbkit.simulation.papers`, reruns published experiments.
"""

from __future__ import annotations

from lbkit.simulation.loading import load_scenario, loads_scenario
from lbkit.simulation.result import Result, ServerResult
from lbkit.simulation.run import AS_RECORDED, simulate, simulate_one
from lbkit.simulation.scenario import Event, HealthSpec, PoolSpec, Scenario, ServerSpec
from lbkit.simulation.trace import Trace, TraceEntry, read_trace

__all__ = [
    "AS_RECORDED",
    "Event",
    "HealthSpec",
    "PoolSpec",
    "Result",
    "Scenario",
    "ServerResult",
    "ServerSpec",
    "Trace",
    "TraceEntry",
    "load_scenario",
    "loads_scenario",
    "read_trace",
    "simulate",
    "simulate_one",
]

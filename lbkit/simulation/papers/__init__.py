"""Published experiments, run again: published against measured, with the tolerance.

`PAPERS` has them by name; each file registers its own. They are tests too: small versions in `make test`,
full ones in `make bench`.
"""

from __future__ import annotations

from lbkit.simulation.papers.base import PAPERS, Paper, Report, Row
from lbkit.simulation.papers.bins import balls_in_bins
from lbkit.simulation.papers.prequal import prequal
from lbkit.simulation.papers.sequences import bounded_loads, maglev_table, smooth_round_robin
from lbkit.simulation.papers.slow_server import slow_server
from lbkit.simulation.papers.steps import two_hundred_servers
from lbkit.simulation.papers.supermarket import supermarket

__all__ = [
    "PAPERS",
    "Paper",
    "Report",
    "Row",
    "balls_in_bins",
    "bounded_loads",
    "maglev_table",
    "prequal",
    "slow_server",
    "smooth_round_robin",
    "supermarket",
    "two_hundred_servers",
]

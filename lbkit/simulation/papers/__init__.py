"""Published experiments, run again: published against measured, with the tolerance.

`PAPERS` has them by name; each file registers its own. They are tests too: small versions in `make test`,
full ones in `make bench`.
"""

from __future__ import annotations

from lbkit.simulation.papers import bins, prequal, sequences, slow_server, steps, supermarket
from lbkit.simulation.papers.base import PAPERS, Paper, Report, Row

__all__ = ["PAPERS", "Paper", "Report", "Row"]

_FILES = (bins, prequal, sequences, slow_server, steps, supermarket)

"""Live benchmarks: a scenario of the simulator on real sockets, and the relays beside other proxies."""

from __future__ import annotations

__all__ = ["SERVER_VARIABLE"]

# Here, because `contenders` sets it for a process that imports nothing of lbkit but `tunnel`.
SERVER_VARIABLE = "LBKIT_BENCH_SERVER"
"""Environment variable with the server's address for proxy.py, which has no option for it."""

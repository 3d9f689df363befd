"""Live benchmarks: a scenario of the simulator on real sockets, and lbkit's servers beside other ones."""

from __future__ import annotations

__all__ = ["FOLDER_VARIABLE", "SERVER_VARIABLE"]

# Here, because `contenders` sets it for a process that imports nothing of lbkit but `tunnel`.
SERVER_VARIABLE = "LBKIT_BENCH_SERVER"
"""Environment variable with the server's address for proxy.py, which has no option for it."""
FOLDER_VARIABLE = "LBKIT_BENCH_FOLDER"
"""The same with the folder that `folders` serves."""

"""The simulator's own speed and memory: ``python -m benchmarks.simulation`` or ``make bench``.

Two marks: 150 000 simulated requests a second with `two_choices` on 100 servers, the median of several
rounds; and a thousand servers with ten million requests in 1 GB, as the peak resident memory of a process
that does nothing else. Exit 1 when one is missed.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from lbkit.config.values import Duration
from lbkit.simulation import Scenario, ServerSpec, simulate_one
from lbkit.simulation.arrivals import Poisson
from lbkit.simulation.service import Exponential

__all__ = ["main"]

SPEED_MARK = 150_000.0
MEMORY_MARK = 1 << 30
_LOAD = 0.8


def scenario(servers: int, requests: int) -> Scenario:
    """Equal servers that work on one request at a time, four fifths of the time."""
    return Scenario(
        (ServerSpec(count=servers),),
        requests=requests,
        arrivals=Poisson(_LOAD * servers * 100),
        service=Exponential(Duration(0.01)),
    )


def speed(algorithm: str, requests: int) -> float:
    """Simulated requests a second of real time, on 100 servers."""
    began = time.perf_counter()
    simulate_one(scenario(100, requests), algorithm)
    return requests / (time.perf_counter() - began)


def peak_memory(requests: int) -> tuple[int, float]:
    """Bytes at the peak, and seconds, of a process that simulates so many requests to 1000 servers."""
    command = [sys.executable, "-m", "benchmarks.simulation", "--only-memory", str(requests)]
    began = time.perf_counter()
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return int(shown.stdout), time.perf_counter() - began


def _own_peak(requests: int) -> int:
    simulate_one(scenario(1000, requests), "two_choices")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): bytes there, KiB here


@click.command()
@click.option("--requests", type=int, default=1_000_000, show_default=True, help="For each round of speed.")
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--memory-requests", type=int, default=10_000_000, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here, too.")
@click.option("--only-memory", type=int, hidden=True)
def main(
    requests: int, rounds: int, memory_requests: int, file: Path | None, only_memory: int | None
) -> None:
    """Measure the simulator."""
    if only_memory is not None:
        click.echo(str(_own_peak(only_memory)))
        return
    algorithms = ("two_choices", "random", "round_robin", "least_connections")
    speeds: dict[str, list[float]] = {name: [] for name in algorithms}
    # In turns: the machine's speed moves, and should for all.
    for _ in range(rounds):
        for name in algorithms:
            speeds[name].append(speed(name, requests))
    peak, seconds = peak_memory(memory_requests)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    met = {"speed": medians["two_choices"] >= SPEED_MARK, "memory": peak <= MEMORY_MARK}
    _print(medians, peak, seconds, memory_requests, met)
    if file is not None:
        document = {
            "requests_per_second": medians,
            "rounds": speeds,
            "memory": {"bytes": peak, "requests": memory_requests, "servers": 1000, "seconds": seconds},
            "met": met,
        }
        file.write_text(json.dumps(document, indent=2) + "\n")
    sys.exit(0 if all(met.values()) else 1)


def _print(medians: dict[str, float], peak: int, seconds: float, requests: int, met: dict[str, bool]) -> None:
    table = Table(title="The simulator", title_justify="left")
    for column in ("what", "measured", "mark", ""):
        table.add_column(column)
    for name, median in medians.items():
        marked = name == "two_choices"
        verdict = ("met" if met["speed"] else "missed") if marked else ""
        mark = f"≥ {SPEED_MARK:.0f}" if marked else ""
        table.add_row(f"{name} on 100 servers", f"{median:.0f} requests/s", mark, verdict)
    table.add_row(
        f"1000 servers, {requests} requests ({seconds:.0f} s)",
        f"{peak / 2**20:.0f} MiB",
        f"≤ {MEMORY_MARK >> 20} MiB",
        "met" if met["memory"] else "missed",
    )
    Console(highlight=False, width=110).print(table)


if __name__ == "__main__":
    main()

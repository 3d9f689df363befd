from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lbkit.bench.usage import busy_seconds, cpu_seconds, members, resident_bytes

TICKS = os.sysconf("SC_CLK_TCK")


def process(
    proc: Path, pid: int, group: int, *, threads: tuple[int, ...] = (), ticks: tuple[int, int] = (0, 0)
) -> None:
    """A process as /proc shows it; *threads* are nanoseconds, *ticks* user and system time."""
    folder = proc / str(pid)
    folder.mkdir()
    fields = ["S", "1", str(group), *["0"] * 8, str(ticks[0]), str(ticks[1]), "0"]
    (folder / "stat").write_text(f"{pid} (odd) name (x) {' '.join(fields)}\n")
    (folder / "status").write_text(f"Name:\todd\nVmRSS:\t    {pid} kB\nThreads: 1\n")
    for number, nanoseconds in enumerate(threads):
        task = folder / "task" / str(pid + number)
        task.mkdir(parents=True)
        (task / "schedstat").write_text(f"{nanoseconds} 5 7\n")


def test_a_group_is_counted_as_one(tmp_path: Path) -> None:
    process(tmp_path, 10, 10, threads=(1_000_000_000, 500_000_000))
    process(tmp_path, 11, 10, ticks=(TICKS, TICKS))
    process(tmp_path, 12, 12, threads=(9_000_000_000,))
    (tmp_path / "13").mkdir()  # has just ended
    assert sorted(members(10, tmp_path)) == [10, 11]
    assert cpu_seconds(10, tmp_path) == pytest.approx(1.5 + 2), (
        "nanoseconds where there are any, ticks elsewhere"
    )
    assert resident_bytes(10, tmp_path) == 21 * 1024


def test_the_machine(tmp_path: Path) -> None:
    numbers = [
        1 * TICKS,
        2 * TICKS,
        4 * TICKS,
        8 * TICKS,
        16 * TICKS,
        32 * TICKS,
        64 * TICKS,
        128 * TICKS,
        1,
        1,
    ]
    (tmp_path / "stat").write_text(f"cpu  {' '.join(map(str, numbers))}\ncpu0 9 9 9\n")
    assert busy_seconds(tmp_path) == 1 + 2 + 4 + 32 + 64, "neither idle, nor waiting, nor stolen"


def test_where_there_is_no_proc(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    assert (members(1, nowhere), cpu_seconds(1, nowhere), busy_seconds(nowhere)) == ([], 0, 0)
    assert resident_bytes(1, nowhere) == 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_a_real_group() -> None:
    program = "import sys\nwhile sum(range(100_000)):\n    print(flush=True)\n    sys.stdin.readline()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        first = cpu_seconds(child.pid)
        assert members(child.pid) == [child.pid]
        assert resident_bytes(child.pid) > 1_000_000
        for _ in range(20):
            child.stdin.write(b"\n")
            child.stdin.flush()
            child.stdout.readline()
        assert 0 < first < cpu_seconds(child.pid) < 10
        child.kill()

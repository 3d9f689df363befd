from __future__ import annotations

import subprocess
import sys

from tests.support.processes import ROOT


def test_it_is_lbkit_bench_static() -> None:
    command = [sys.executable, "-m", "benchmarks.static", "--path", "lbkitt"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 2
    assert shown.stderr.startswith('lbkit: --path: unknown path "lbkitt" (did you mean "lbkit"?')

"""aiomysql's own tests, from its source archive, on connections and pools of the router.

What fails must fail on plain aiomysql, too (its tests are of an older PyMySQL, for one), or be in `OURS`.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lbkit.cluster.packages import cache_root
from tests.support.databases import LivePair
from tests.support.processes import ROOT

OURS = {
    "test_config_file": "where to connect to is the router's",
    "test_config_file_with_different_group": "where to connect to is the router's",
    "test_connection_info_methods": "where to connect to is the router's",
    "test_connection_properties": "where to connect to is the router's",
    "test_release_closed": "a pool is filled up to its minimum in the background, not by who comes next",
    "test_parallel_tasks": "the connection used last is given out first, so that those not needed end",
    "test_parallel_tasks_more": "the connection used last is given out first, so that those not needed end",
    "test_release_with_invalid_status": "a connection that comes back in a transaction is reset, not closed",
    "test_release_with_invalid_status_wait_release": "the same",
    "test_pool_drops_connection_with_exception": "it looks into the pool's own list",
}
LEFT_OUT = ("tests/sa", "tests/test_async_iter.py")  # of aiomysql.sa, which needs SQLAlchemy before 2


def suite(folder: Path) -> Path:
    """aiomysql's source archive of the installed version, unpacked; fetched once."""
    version = importlib.metadata.version("aiomysql")
    kept = cache_root() / "sdists" / f"aiomysql-{version}.tar.gz"
    if not kept.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        kept.parent.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run(
            [*command, "-d", str(kept.parent), f"aiomysql=={version}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode:
            pytest.skip(f"aiomysql's source archive can't be had: {fetched.stderr[-300:]}")
    with tarfile.open(kept) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"aiomysql-{version}"


def failures(pair: LivePair, source: Path, tests: list[str], *, plain: bool = False) -> tuple[set[str], int]:
    """The tests that failed, and how many passed."""
    admin = pair.cluster._nodes[pair.primary.name]._accounts.admin
    dsns = [f"mysql://lbkit_admin:{admin}@{server.address}/test_pymysql" for server in pair.cluster.servers]
    env = {**os.environ, "LBKIT_SUITE_DSNS": " ".join(dsns), "PYTHONPATH": str(ROOT / "tests" / "support")}
    if plain:
        env["LBKIT_SUITE_PLAIN"] = "1"
    options = ["-q", "-p", "aiomysql_suite", "-p", "no:asyncio", "-p", "no:xdist", "-p", "no:cacheprovider"]
    # Not those of the other loop: what they are about is the same, and one of them takes half the time.
    command = [*options, "--mysql-unix-socket=none", "-k", "not uvloop", "--tb=line", "-rfE", *tests]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *command, *(f"--ignore={path}" for path in LEFT_OUT)],
        cwd=source, env=env, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    summary = re.search(r"(\d+) passed", ran.stdout)
    assert summary or plain, ran.stdout[-3000:] + ran.stderr[-3000:]
    failed = set(re.findall(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE))
    return failed, int(summary[1]) if summary else 0


@pytest.mark.parametrize("flavour", [pytest.param("mysql", marks=pytest.mark.xdist_group("aiomysql"))])
def test_aiomysqls_own_tests_pass_on_the_router(pair: LivePair, tmp_path: Path) -> None:
    source = suite(tmp_path)
    failed, passed = failures(pair, source, ["tests"])
    names = {test: re.sub(r"\[.*", "", test.rpartition("::")[2]) for test in failed}
    unexpected = [test for test in failed if names[test] not in OURS]
    # Some fail on plain aiomysql as well; on this server and with this PyMySQL.
    if unexpected:
        still, _ = failures(pair, source, sorted(unexpected), plain=True)
        assert set(unexpected) - still == set()
    assert passed > 130

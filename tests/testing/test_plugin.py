"""The fixtures as somebody else's tests have them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

TEST = """
import asyncio

from lbkit.mysql import Router


def test_one(mysql_pair):
    async def main():
        async with Router(mysql_pair.dsns) as router:
            await router.execute("CREATE TABLE note (id INT PRIMARY KEY)")
            await router.execute("INSERT INTO note VALUES (1)")
    asyncio.run(main())
    mysql_pair.kill_primary()


def test_two(mysql_pair):
    assert mysql_pair.run_on(mysql_pair.primary, "SELECT id FROM app.note")[0]["id"] == 1
"""


@pytest.mark.xdist_group("plugin")
def test_the_fixtures_in_a_suite_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["lbkit.testing.plugin"]\n')
    (tmp_path / "test_notes.py").write_text(TEST)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(tmp_path),
    ]
    command += ["--rootdir", str(tmp_path), "--basetemp", str(tmp_path / "temp")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert ROOT not in Path(tmp_path).parents

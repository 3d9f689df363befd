from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbkit.cluster.database import Flavour, ServerProgram, find_server
from lbkit.cluster.report import LineReport, Silent
from lbkit.cluster.statedir import StateDir
from lbkit.cluster.template import copy_sparse, new_data_directory
from lbkit.errors import StartFailed


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    with StateDir(tmp_path / "state") as opened:
        yield opened


@pytest.mark.parametrize(
    "content", [b"", b"abc", bytes(200_000), b"a" + bytes(300_000) + b"b", bytes(65536) + b"x"]
)
def test_a_sparse_copy_is_equal_and_not_larger(tmp_path: Path, content: bytes) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    source.chmod(0o640)
    copy_sparse(str(source), str(target))
    assert target.read_bytes() == content
    assert target.stat().st_mode == source.stat().st_mode
    assert target.stat().st_blocks <= max(source.stat().st_blocks, 8)


def test_zeros_take_no_room(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(4_000_000))
    copy_sparse(str(source), str(target))
    assert target.stat().st_blocks * 512 < 100_000


async def test_a_data_directory_is_made_from_a_kept_template(
    flavour: Flavour, state: StateDir, tmp_path: Path
) -> None:
    program = find_server(flavour, LineReport())
    for name in ("one", "two"):
        await new_data_directory(program, tmp_path / name, state, LineReport())
        assert (tmp_path / name / "ibdata1").is_file()
        # Two servers with one uuid would not replicate from one another.
        assert not (tmp_path / name / "auto.cnf").exists()
    assert state.recorded() == []


async def test_a_server_that_cannot_initialise_tells_why(
    state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LBKIT_CACHE", str(tmp_path / "cache"))
    broken = tmp_path / "mysqld"
    broken.write_text("#!/bin/sh\necho '0 [ERROR] [MY-1] [Server] out of ink' >&2\nexit 1\n")
    broken.chmod(0o755)
    program = ServerProgram(broken, "mysql", (9, 0, 0))
    with pytest.raises(StartFailed, match="cannot initialise a data directory: out of ink"):
        await new_data_directory(program, tmp_path / "data", state, Silent())
    assert not (tmp_path / "data").exists()
    templates = tmp_path / "cache" / "templates"
    assert [name for name in os.listdir(templates) if not name.endswith(".lock")] == []

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lbkit.cluster.apt import PrivateApt
from lbkit.cluster.aptsources import Source
from lbkit.cluster.commands import StepFailed


@pytest.fixture
def apt(tmp_path: Path) -> PrivateApt:
    return PrivateApt(tmp_path, [Source("file:/nowhere", ("bookworm", "sid"), ("main",))], ("perl",))


def test_everything_but_the_network_is_private(apt: PrivateApt, tmp_path: Path) -> None:
    env = {**os.environ, "APT_CONFIG": str(tmp_path / "apt.conf")}
    dump = subprocess.run(["apt-config", "dump"], env=env, capture_output=True, text=True, check=True).stdout
    for key in ("Dir::State", "Dir::Cache", "Dir::State::status", "Dir::Etc::sourceparts"):
        assert f'{key} "{tmp_path}' in dump
    # The system's hooks would run with every update, and some delete the system's own cache.
    assert "Post-Invoke" not in dump


def test_stand_ins_count_as_installed(apt: PrivateApt, tmp_path: Path) -> None:
    status = (tmp_path / "dpkg" / "status").read_text()
    assert "Package: perl\nStatus: install ok installed\nVersion: 9999\n" in status
    assert apt.suites == ["bookworm", "sid"]


def test_what_is_not_there_is_said_in_apts_words(apt: PrivateApt) -> None:
    with pytest.raises(StepFailed, match="Unable to locate package no-such-package"):
        apt.files(["no-such-package"])
    with pytest.raises(StepFailed, match="no package no-such in bookworm and sid"):
        apt.newest("no-such*")


def test_a_plain_name_is_taken_as_it_is(apt: PrivateApt) -> None:
    assert apt.newest("wrk") == "wrk"

"""setup.sh on machines that lack something: one line that says what to install, exit 1, nothing half made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Machine:
    """A clone in a folder with a blank in its name, and a PATH on which programs can be replaced."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "my clone"
        self.clone.mkdir()
        for name in ("setup.sh", "pyproject.toml"):
            shutil.copy(ROOT / name, self.clone)
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in (
            "sh",
            "dirname",
            "cksum",
            "cat",
            "awk",
            "df",
            "rm",
            "grep",
            "tail",
            "mktemp",
            "mkdir",
            "ls",
        ):
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self.program("python3", f'exec "{sys.executable}" "$@"')

    def program(self, name: str, script: str) -> None:
        file = self.bin / name
        file.unlink(missing_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def setup(self, *groups: str, **env: str) -> subprocess.CompletedProcess[str]:
        inherited = {
            key: value for key, value in os.environ.items() if key != "PYTHON" and not key.startswith("PIP_")
        }
        return subprocess.run(
            ["sh", str(self.clone / "setup.sh"), *groups],
            env={**inherited, "PATH": str(self.bin), **env},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def refuses(self, *words: str, **env: str) -> None:
        result = self.setup(**env)
        assert result.returncode == 1
        last = result.stderr.splitlines()[-1]
        for word in words:
            assert word in last, result.stderr
        assert not (self.clone / ".venv" / ".installed").exists()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_no_python(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    machine.refuses("Python 3.11 or later is needed", "apt-get install python3 python3-venv")


def test_python_too_old(machine: Machine) -> None:
    machine.program("python3", "exit 1")
    machine.refuses("Python 3.11 or later is needed")


def test_no_venv_module(machine: Machine) -> None:
    machine.program("python3", f'case "$*" in *"import venv"*) exit 1;; esac; exec "{sys.executable}" "$@"')
    machine.refuses("Python's venv module is missing: apt-get install python3-venv")


def test_no_pip_and_no_package_archive(machine: Machine) -> None:
    machine.program("python3", f'case "$*" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"')
    machine.program("apt-get", "exit 100")
    machine.program("dpkg-deb", "exit 2")
    machine.refuses("Python's venv module is missing: apt-get install python3-venv")
    assert not (machine.clone / ".venv").exists()


def test_no_disk_space(machine: Machine) -> None:
    machine.program(
        "df", 'echo "Filesystem 1024-blocks Used Available Capacity Mounted"; echo "x 100 90 10240 90% /"'
    )
    machine.refuses("no disk space: 500 MB are needed", "10 MB are free")


def test_no_network(machine: Machine) -> None:
    machine.refuses(
        "no network: the Python packages cannot be downloaded",
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_RETRIES="0",
        PIP_CONFIG_FILE=os.devnull,
        PIP_NO_CACHE_DIR="1",
    )


def installed(machine: Machine) -> None:
    """As after a run that installed everything, without its downloads."""
    (machine.clone / ".venv" / "bin").mkdir(parents=True)
    (machine.clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (machine.clone / ".venv" / ".place").write_text(f"{machine.clone}\n")
    sums = [
        subprocess.run(["cksum"], input=(machine.clone / name).read_bytes(), capture_output=True, check=True)
        for name in ("pyproject.toml", "setup.sh")
    ]
    stamp = " ".join([*(done.stdout.decode().strip() for done in sums), ""])
    (machine.clone / ".venv" / ".installed").write_text(stamp)


def test_a_moved_clone_gets_a_new_environment(machine: Machine) -> None:
    installed(machine)
    assert machine.setup().stderr == "", "as it is nothing is missing"
    machine.clone = machine.clone.rename(machine.clone.with_name("moved 'clone'"))
    result = machine.setup(
        PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0", PIP_CONFIG_FILE=os.devnull
    )
    assert "installing lbkit into .venv" in result.stderr
    assert (machine.clone / ".venv" / ".place").read_text() == f"{machine.clone}\n"


def test_an_interpreter_with_a_blank_in_its_path(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "my python").symlink_to(sys.executable)
    machine.program("python3", "exit 1")
    machine.program("df", "printf 'x\\nx 100 90 10240 90%% /\\n'")
    machine.refuses("no disk space", PYTHON=str(tmp_path / "my python"))


def test_what_is_installed_is_not_installed_again() -> None:
    """On the checkout that runs this test everything is there: no output, no work."""
    result = subprocess.run(["sh", str(ROOT / "setup.sh")], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")

"""One small program is really fetched; what can go wrong is arranged around it."""

from __future__ import annotations

import fcntl
import shutil
import socket
import subprocess
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from lbkit.cluster import packages
from lbkit.cluster.aptsources import Distribution
from lbkit.cluster.packages import ArchiveUnreachable, cache_root, fetch_tool
from lbkit.errors import StartFailed


class Told:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.said = threading.Event()
        self.steps: list[tuple[int, int]] = []

    def say(self, text: str) -> None:
        self.lines.append(text)
        self.said.set()

    def progress(self, label: str, done: int, total: int) -> None:
        self.steps.append((done, total))

    def end(self, label: str) -> None:
        self.ended = label


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LBKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packages"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv("LBKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_root() == Path("/x/lbkit")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_root() == Path("/home/somebody/.cache/lbkit")


def test_a_program_is_fetched_once_by_one_process_at_a_time(cache: Path) -> None:
    cache.mkdir(parents=True)
    wanted = packages.Wanted("wrk", ("wrk",), ("wrk",))
    name = packages.prefix_of(wanted).path.name
    killed = cache / f".{name}.killed"
    killed.mkdir()
    told = Told()
    found: list[Path] = []
    with (cache / f"{name}.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: found.append(fetch_tool("wrk", told)))
        thread.start()
        assert told.said.wait(10)
        assert told.lines == [f"another process is fetching {name}; waiting for it"]
    thread.join(120)
    (wrk,) = found
    shown = subprocess.run([wrk, "-v"], capture_output=True, text=True, check=False).stdout
    assert shown.startswith("wrk ")
    assert not killed.exists()
    assert sorted(path.name for path in cache.iterdir()) == [name, f"{name}.lock"]
    assert any("MB to download" in line and "MB on disk" in line for line in told.lines)
    done, total = told.steps[-1]
    assert done >= total > 0
    assert told.ended == "wrk: downloading"
    lines = len(told.lines)
    assert fetch_tool("wrk", told) == wrk
    assert len(told.lines) == lines


def test_no_network_is_one_line_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    code = packages._distribution().codename
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] http://127.0.0.1:{port}/debian {code} main\n")
    (tmp_path / "sources.list.d").mkdir()
    monkeypatch.setattr(packages, "APT_FOLDER", tmp_path)
    with pytest.raises(ArchiveUnreachable) as caught:
        fetch_tool("wrk")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("could not get wrk, the package archive cannot be reached: ")
    assert message.endswith("Install it with: apt-get install wrk")


def test_an_unknown_package(cache: Path) -> None:
    with pytest.raises(StartFailed, match=r"could not get no-such-tool: .*Unable to locate package"):
        fetch_tool("no-such-tool")
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_no_room(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1, 1, 7_000_000))
    with pytest.raises(StartFailed, match=rf"needs 120 MB in {cache}, 7 MB free; set LBKIT_CACHE"):
        fetch_tool("wrk")


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBKIT_CACHE", "/proc/lbkit")
    with pytest.raises(StartFailed, match="cannot write to /proc/lbkit/packages"):
        fetch_tool("wrk")


@pytest.mark.parametrize(
    ("tools", "advice"),
    [
        (["dnf"], "dnf install mariadb-server"),
        (["pacman"], "pacman -S mariadb"),
        (["brew"], "brew install mariadb"),
        ([], "with the system's package manager"),
    ],
)
def test_elsewhere_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tools: list[str], advice: str
) -> None:
    monkeypatch.setattr(packages, "_distribution", lambda: Distribution("", "", "another system"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in tools else None)
    with pytest.raises(StartFailed, match=f"mysql is not installed.*{advice}"):
        packages.fetch(packages.MYSQL)


def test_no_archive_is_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "APT_FOLDER", tmp_path)
    with pytest.raises(StartFailed, match="apt has no archive of"):
        fetch_tool("wrk")

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lbkit.cluster.prefix import Prefix, unpack, write_wrappers
from lbkit.errors import StartFailed


def make_package(folder: Path) -> Path:
    """A package with one file that is kept and one that only people read."""
    root = folder / "package"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: toy\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody\nDescription: toy\n"
    )
    for name in ("usr/share/toy/data", "usr/share/doc/toy/README"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(name)
    archive = folder / "toy.deb"
    subprocess.run(["dpkg-deb", "--build", root, archive], check=True, capture_output=True)
    return archive


def test_unpack(tmp_path: Path) -> None:
    archive = make_package(tmp_path)
    prefix = Prefix(tmp_path / "prefix")
    assert not prefix.ready
    unpack([archive], prefix)
    assert prefix.ready
    assert (prefix.root / "usr/share/toy/data").read_text() == "usr/share/toy/data"
    assert not (prefix.root / "usr/share/doc").exists()
    assert (prefix.root / "lib").resolve() == (prefix.root / "usr/lib").resolve()
    assert (prefix.path / "MANIFEST").read_text().startswith("toy 1.0 ")
    assert not archive.exists()


def test_programs_are_wrapped_with_their_own_loader(tmp_path: Path) -> None:
    """The host's own `true`, its loader and its C library stand for a package's."""
    prefix = Prefix(tmp_path / "a folder" / "prefix")
    library = prefix.root / "usr/lib/any-linux-gnu"
    library.mkdir(parents=True)
    (prefix.root / "usr/bin").mkdir()
    lines = subprocess.run(["ldd", "/bin/true"], capture_output=True, text=True, check=True).stdout.split()
    for file in (Path(word) for word in lines if word.startswith("/")):
        (library / file.name).write_bytes(file.resolve().read_bytes())
        (library / file.name).chmod(0o755)
    (prefix.root / "usr/bin/true").write_bytes(Path("/bin/true").read_bytes())
    (prefix.root / "usr/bin/true").chmod(0o755)
    (prefix.path / "MANIFEST").touch()

    write_wrappers(prefix, ["true", "absent"])
    program = prefix.program("true")
    assert subprocess.run([program], check=False).returncode == 0
    assert Prefix.of(program) == prefix
    with pytest.raises(StartFailed, match="no program 'absent'"):
        prefix.program("absent")


def test_a_system_program_has_no_prefix() -> None:
    assert Prefix.of(Path("/bin/sh")) is None

"""`Prefix`: unpacked packages that run where they lie, through their own ld.so and libraries."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lbkit.cluster.commands import StepFailed, run
from lbkit.errors import StartFailed

__all__ = ["Prefix", "unpack", "write_wrappers"]


@dataclass(frozen=True, slots=True)
class Prefix:
    """A folder of unpacked packages: bin/ has the wrappers, root/ the files, MANIFEST what they came from."""

    path: Path

    @property
    def ready(self) -> bool:
        """Whether it is complete; it is only ever moved into place complete."""
        return (self.path / "MANIFEST").is_file()

    @property
    def root(self) -> Path:
        return self.path / "root"

    def program(self, name: str) -> Path:
        """The wrapper of a program; StartFailed where the packages had none of that name."""
        wrapper = self.path / "bin" / name
        if not wrapper.is_file():
            raise StartFailed(f"the packages unpacked in {self.path} have no program {name!r}")
        return wrapper

    @classmethod
    def of(cls, program: Path) -> Prefix | None:
        """The prefix that *program* is a wrapper of, if any."""
        prefix = cls(program.resolve().parent.parent)
        return prefix if prefix.ready and prefix.root.is_dir() else None


def unpack(archives: list[Path], prefix: Prefix) -> None:
    """All packages over one another in root/, without what only people read."""
    root = prefix.root
    for name in ("lib", "lib64", "bin", "sbin"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    unread = ("doc", "man", "locale", "lintian", "i18n", "bash-completion")
    excludes = [f"--exclude=./usr/share/{name}" for name in unread] + ["--exclude=./usr/lib/*/gconv"]
    tar = ["tar", "-x", "-C", str(root), "--keep-directory-symlink", "--no-same-owner", *excludes, "-f", "-"]
    manifest = []
    for archive in archives:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as data:
            run(tar, stdin=data.stdout)
        if data.returncode:
            raise StepFailed(f"dpkg-deb could not unpack {archive.name}")
        shown = run(["dpkg-deb", "-W", "--showformat=${Package} ${Version}", str(archive)])
        manifest.append(f"{shown} {archive.stat().st_size}\n")
        archive.unlink()  # so that packages and unpacked files never need room at the same time
    (prefix.path / "MANIFEST").write_text("".join(manifest))


def write_wrappers(prefix: Prefix, programs: Sequence[str]) -> None:
    root = prefix.root
    loader = _loader(root)
    folders = [
        folder
        for pattern in (
            "usr/lib/*-linux-*",
            "usr/lib/*-linux-*/private",
            "usr/lib/mysql/private",
            "usr/lib/mysql-router",
            "usr/lib",
        )
        for folder in sorted(root.glob(pattern))
        if folder.is_dir()
    ]
    libraries = ":".join(f"$root/{folder.relative_to(root)}" for folder in folders)
    (prefix.path / "bin").mkdir()
    for name in programs:
        found = [file for file in (root / f"usr/{sub}/{name}" for sub in ("sbin", "bin")) if file.exists()]
        if not found:
            continue  # MariaDB's packages have mysqld as a link in some versions and not in others
        _require_libraries(loader, folders, found[0])
        wrapper = prefix.path / "bin" / name
        program = f"$root/{found[0].relative_to(root)}"
        wrapper.write_text(
            "#!/bin/sh\n"
            f"# Written by lbkit: runs the private {name} with the libraries it was linked against.\n"
            'root=$(dirname "$(dirname "$(readlink -f "$0")")")/root\n'
            f'exec "$root/{loader.relative_to(root)}" --inhibit-cache --argv0 "{program}" \\\n'
            f'    --library-path "{libraries}" "{program}" "$@"\n'
        )
        wrapper.chmod(0o755)


def _loader(root: Path) -> Path:
    """The packages' dynamic loader: the file itself, as links to it may be absolute and name the host's."""
    for pattern in ("ld-linux*.so.*", "ld64.so.*", "ld-*.so*"):
        for file in sorted(root.glob(f"usr/lib*/**/{pattern}")):
            if file.is_file() and not file.is_symlink():
                return file
    raise StepFailed("no ld.so among the packages")


def _require_libraries(loader: Path, folders: list[Path], program: Path) -> None:
    path = ":".join(map(str, folders))
    listed = run([str(loader), "--inhibit-cache", "--library-path", path, "--list", str(program)])
    if missing := re.findall(r"(\S+) => not found", listed):
        raise StepFailed(f"{program.name} lacks {', '.join(missing)}")

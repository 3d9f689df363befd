"""Programs from the distribution's packages, unpacked into a private folder, without root.

Strategy: apt's own solver runs with private lists, status and cache, so that no library name and no
version number is written here; the packages are unpacked, not installed, and each program gets a
wrapper that starts it through the prefix's own ld.so with the libraries it was linked against. That is
what lets a stable Debian run a server from Debian's unstable suite beside an older libc.

Rejected: `apt-get install` (needs root and changes the system), adding a suite to the system's sources
(the same), containers (need a daemon or user namespaces), and fixed download addresses (they age, and
the machine's administrator already chose an archive).

A prefix is built in a sibling folder and renamed when it works, under a lock, so that a build that is
killed leaves only a folder that the next build removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from lbkit.cluster.aptsources import Distribution, Source, own_archive, read_sources, render
from lbkit.cluster.report import Report, Silent
from lbkit.errors import StartFailed

__all__ = ["MARIADB", "MYSQL", "ArchiveUnreachable", "Prefix", "Wanted", "cache_root", "fetch", "fetch_tool"]

# Needed by packages' install scripts, not by the programs in them.
STAND_INS = (
    "adduser",
    "debconf",
    "dpkg",
    "init-system-helpers",
    "lsb-base",
    "mysql-common",
    "passwd",
    "perl",
    "perl-base",
    "sysvinit-utils",
)
LISTS_MB = 120  # a suite's package lists and apt's own files, rounded up
STEP_TIMEOUT = 900.0  # seconds for one apt-get run, on a slow line
MEGA = 1_000_000


class ArchiveUnreachable(StartFailed):
    """The package archive did not answer: trying other packages of it makes no sense."""


class _StepFailed(Exception):
    """One apt-get or dpkg-deb run failed; the text is its own error lines."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which packages to unpack and which programs of them to make runnable.

    `packages`: names; one that ends in ``*`` stands for its newest versioned form (Ubuntu's
    mysql-server-core-8.4). `suites`: what to try, in order; an empty tuple is the machine's own.
    """

    name: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    suites: tuple[tuple[str, ...], ...] = ((),)


# Debian has MySQL in sid only. A library transition under way there is got round with testing's packages.
MYSQL = Wanted(
    "mysql", ("mysql-server-core*", "mysql-client-core*"), ("mysqld", "mysql"), (("sid",), ("sid", "testing"))
)
MARIADB = Wanted(
    "mariadb", ("mariadb-server-core*", "mariadb-client-core*"), ("mariadbd", "mysqld", "mariadb", "mysql")
)


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


def cache_root() -> Path:
    """``$LBKIT_CACHE``, else ``$XDG_CACHE_HOME/lbkit``, else ``~/.cache/lbkit``."""
    if own := os.environ.get("LBKIT_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lbkit"


def prefix_of(wanted: Wanted) -> Prefix:
    """Where *wanted* is, or would be, in the cache; the machine type keeps shared home folders apart."""
    return Prefix(cache_root() / "packages" / f"{wanted.name}-{platform.machine()}")


def fetch_tool(name: str, report: Report | None = None) -> Path:
    """The path of a program whose package has its own name (wrk, haproxy), fetched when not yet cached.

    Raises StartFailed as `fetch` does.
    """
    return fetch(Wanted(name, (name,), (name,)), report).program(name)


def fetch(wanted: Wanted, report: Report | None = None) -> Prefix:
    """The prefix of *wanted*, from the cache or else downloaded.

    Blocking. Raises StartFailed, in one line, on systems without apt, without a network
    (`ArchiveUnreachable`), without disk space, and when the packages cannot be had.
    """
    report = report or Silent()
    prefix = prefix_of(wanted)
    if prefix.ready:
        return prefix
    distribution = _distribution()
    if not distribution.family or not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise StartFailed(f"{wanted.name} is not installed. {_advice(wanted)}")
    if distribution.family != "debian":
        wanted = replace(wanted, suites=((),))
    with _lock(prefix.path, report):
        if not prefix.ready:  # another process may have built it while this one waited
            _build(wanted, prefix, distribution, report)
    return prefix


def _distribution() -> Distribution:
    try:
        return Distribution.parse(Path("/etc/os-release").read_text())
    except OSError:
        return Distribution("", "", sys.platform)


# The first of these that exists tells which family of systems this is.
_INSTALLERS = (
    ("apt-get", "apt-get install {debian}"),
    ("dnf", "dnf install {debian}"),
    ("zypper", "zypper install {plain}"),
    ("apk", "apk add {plain}"),
    ("pacman", "pacman -S {plain}"),
    ("brew", "brew install {plain}"),
)


def _advice(wanted: Wanted) -> str:
    """What to type instead; distributions that lack MySQL all have MariaDB."""
    database = wanted.name in ("mysql", "mariadb")
    names = {
        "debian": "mariadb-server" if database else wanted.name,
        "plain": "mariadb" if database else wanted.name,
    }
    for tool, command in _INSTALLERS:
        if shutil.which(tool):
            return f"Install it with: {command.format(**names)}"
    return f"Install {names['plain']} with the system's package manager"


@contextlib.contextmanager
def _lock(prefix: Path, report: Report) -> Iterator[None]:
    lock = Path(f"{prefix}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise StartFailed(f"cannot write to {lock.parent}: {error.strerror}; set LBKIT_CACHE") from None
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report.say(f"another process is fetching {prefix.name}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(wanted: Wanted, prefix: Prefix, distribution: Distribution, report: Report) -> None:
    for stale in prefix.path.parent.glob(f".{prefix.path.name}.*"):
        shutil.rmtree(stale, ignore_errors=True)
    archive = own_archive(read_sources(Path("/etc/apt")), distribution)
    if not archive:
        raise StartFailed(f"apt has no archive of {distribution.name} set up. {_advice(wanted)}")
    _require_space(prefix.path.parent, LISTS_MB * MEGA)
    with tempfile.TemporaryDirectory(prefix=f".{prefix.path.name}.", dir=prefix.path.parent) as folder:
        built = Prefix(Path(folder) / "prefix")
        try:
            archives = _download(wanted, archive, Path(folder), report)
            _unpack(archives, built)
            _write_wrappers(built, wanted.programs)
        except _StepFailed as failure:
            raise StartFailed(f"could not get {wanted.name}: {failure}. {_advice(wanted)}") from None
        except OSError as error:
            raise StartFailed(f"could not unpack {wanted.name} in {folder}: {error.strerror}") from None
        shutil.rmtree(prefix.path, ignore_errors=True)
        built.path.rename(prefix.path)
    report.say(f"{wanted.name}: unpacked in {prefix.path}, {_size(prefix.path) / MEGA:.0f} MB")


def _download(wanted: Wanted, archive: list[Source], folder: Path, report: Report) -> list[Path]:
    """Try the suites in turn; the last failure is the one that is told."""
    failure = _StepFailed("nothing was tried")
    for suites, stand_ins in _attempts(wanted):
        apt = _Apt(folder, _suited(archive, suites), stand_ins)
        report.say(f"{wanted.name}: reading the package lists of {' and '.join(apt.suites)}")
        try:
            apt.update()
            return _download_once(wanted, apt, report)
        except _StepFailed as error:
            report.say(f"{wanted.name}: that failed: {error}")
            failure = error
            if _unreachable(str(error)):
                message = f"could not get {wanted.name}, the package archive cannot be reached: {error}"
                raise ArchiveUnreachable(f"{message}. {_advice(wanted)}") from None
    raise failure


def _attempts(wanted: Wanted) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    first, *others = wanted.suites
    yield first, STAND_INS
    yield first, STAND_INS  # an archive that moves on between two steps answers 404 once
    for suites in others:
        yield suites, STAND_INS
    yield wanted.suites[-1], ()  # a stand-in may have come to clash with a real package


def _suited(archive: list[Source], suites: tuple[str, ...]) -> list[Source]:
    return [replace(archive[0], suites=suites, components=("main",))] if suites else archive


def _unreachable(text: str) -> bool:
    signs = (
        r"Could not (resolve|connect)|Temporary failure|Network is unreachable|[Tt]imed out|Connection failed"
    )
    return re.search(signs, text) is not None


def _download_once(wanted: Wanted, apt: _Apt, report: Report) -> list[Path]:
    names = [apt.newest(package) for package in wanted.packages]
    files = apt.files(names)
    size = sum(files.values())
    unpacked = apt.unpacked_size(list(files))
    report.say(
        f"{wanted.name}: {len(files)} packages, {size / MEGA:.0f} MB to download, "
        f"{unpacked / MEGA:.0f} MB on disk"
    )
    _require_space(apt.folder, size + unpacked)
    apt.download(names, lambda done: report.progress(f"{wanted.name}: downloading", done, size))
    return sorted(apt.archives.glob("*.deb"))


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StartFailed(
            f"needs {needed / MEGA:.0f} MB in {folder.parent if folder.name.startswith('.') else folder}, "
            f"{free / MEGA:.0f} MB free; set LBKIT_CACHE to a folder with more room"
        )


class _Apt:
    """apt-get with everything private to *folder* but the archive, its key, and how it is reached."""

    def __init__(self, folder: Path, sources: list[Source], stand_ins: tuple[str, ...]) -> None:
        self.folder = folder
        self.archives = folder / "archives"
        self.suites = list(dict.fromkeys(suite for source in sources for suite in source.suites))
        for name in ("lists/partial", "archives/partial", "dpkg", "empty", "sources"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._arch = _run(["dpkg", "--print-architecture"]).strip()
        (folder / "sources" / "own.sources").write_text(render(sources))
        (folder / "dpkg" / "status").write_text("".join(map(self._stand_in, stand_ins)))
        (folder / "apt.conf").write_text(self._network_settings() + self._settings())
        self._env = {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}
        self._env["DEBIAN_FRONTEND"] = "noninteractive"

    def update(self) -> None:
        self._apt("apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", "update")

    def newest(self, package: str) -> str:
        """*package* itself, or for ``name*`` the plain name if there is one, else its newest version."""
        if not package.endswith("*"):
            return package
        stem = package.removesuffix("*")
        pattern = re.compile(re.escape(stem) + r"(-[\d.]+)?")
        known = [name for name in self._apt("apt-cache", "pkgnames", stem).split() if pattern.fullmatch(name)]
        real = [name for name in known if self._apt("apt-cache", "show", "--no-all-versions", name)]
        if not real:
            raise _StepFailed(f"no package {stem} in {' and '.join(self.suites)}")
        return min(real, key=lambda name: (name != stem, [-int(n) for n in re.findall(r"\d+", name)]))

    def files(self, names: list[str]) -> dict[str, int]:
        """``name=version`` → bytes to download, the whole closure of *names*."""
        lines = self._apt("apt-get", "-qq", "--print-uris", "install", *names)
        found = re.findall(r"^'\S+' (\S+)_(\S+)_\w+\.deb (\d+) ", lines, re.MULTILINE)
        return {f"{name}={version.replace('%3a', ':')}": int(size) for name, version, size in found}

    def unpacked_size(self, versions: list[str]) -> int:
        """Bytes on disk of these ``name=version`` packages, as their control files say (deb-control(5))."""
        shown = self._apt("apt-cache", "show", *versions)
        return sum(int(kib) * 1024 for kib in re.findall(r"^Installed-Size: (\d+)", shown, re.MULTILINE))

    def download(self, names: list[str], progress: Callable[[int], None]) -> None:
        command = ["apt-get", "-qq", "--download-only", "install", *names]
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command, env=self._env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True
            )
            try:
                while process.poll() is None:
                    progress(_size(self.archives))
                    time.sleep(0.2)
            finally:
                process.kill()
                process.wait()
            progress(_size(self.archives))
            _check(command, process.returncode, output)

    def _apt(self, *command: str) -> str:
        return _run(command, self._env)

    def _stand_in(self, package: str) -> str:
        return (
            f"Package: {package}\nStatus: install ok installed\nVersion: 9999\n"
            f"Architecture: {self._arch}\nMulti-Arch: allowed\nMaintainer: nobody\n"
            "Description: stand-in\n\n"
        )

    @staticmethod
    def _network_settings() -> str:
        """The machine's own proxies, certificates and time limits, but none of its hooks."""
        dump = _run(["apt-config", "dump"])
        kept = re.findall(r"^Acquire::(?!IndexTargets|Changelogs|Languages).*;$", dump, re.MULTILINE)
        return "\n".join(kept) + "\n"

    def _settings(self) -> str:
        folder = self.folder
        return f"""
Dir::State "{folder}";
Dir::State::Lists "{folder}/lists";
Dir::State::status "{folder}/dpkg/status";
Dir::Cache "{folder}";
Dir::Cache::archives "{folder}/archives";
Dir::Etc::main "{folder}/none";
Dir::Etc::parts "{folder}/empty";
Dir::Etc::sourcelist "{folder}/none";
Dir::Etc::sourceparts "{folder}/sources";
Dir::Etc::preferences "{folder}/none";
Dir::Etc::preferencesparts "{folder}/empty";
Dir::Log "{folder}";
APT::Architecture "{self._arch}";
APT::Architectures {{ "{self._arch}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::Assume-Yes "true";
APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::PDiffs "false";
"""


def _unpack(archives: list[Path], prefix: Prefix) -> None:
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
            _run(tar, stdin=data.stdout)
        if data.returncode:
            raise _StepFailed(f"dpkg-deb could not unpack {archive.name}")
        shown = _run(["dpkg-deb", "-W", "--showformat=${Package} ${Version}", str(archive)])
        manifest.append(f"{shown} {archive.stat().st_size}\n")
        archive.unlink()  # so that packages and unpacked files never need room at the same time
    (prefix.path / "MANIFEST").write_text("".join(manifest))


def _write_wrappers(prefix: Prefix, programs: Sequence[str]) -> None:
    root = prefix.root
    loader = _loader(root)
    folders = [
        folder
        for pattern in ("usr/lib/*-linux-*", "usr/lib/*-linux-*/private", "usr/lib/mysql/private", "usr/lib")
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
    raise _StepFailed("no ld.so among the packages")


def _require_libraries(loader: Path, folders: list[Path], program: Path) -> None:
    path = ":".join(map(str, folders))
    listed = _run([str(loader), "--inhibit-cache", "--library-path", path, "--list", str(program)])
    if missing := re.findall(r"(\S+) => not found", listed):
        raise _StepFailed(f"{program.name} lacks {', '.join(missing)}")


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        # A download is renamed when complete, so a file may be gone by the time it is looked at.
        with contextlib.suppress(OSError):
            total += file.lstat().st_size
    return total


def _run(command: Sequence[str], env: dict[str, str] | None = None, stdin: IO[bytes] | None = None) -> str:
    with tempfile.TemporaryFile("w+") as output:
        try:
            done = subprocess.run(
                command,
                env=env,
                stdin=stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                timeout=STEP_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _StepFailed(f"{command[0]} timed out after {STEP_TIMEOUT:.0f} s") from None
        _check(command, done.returncode, output)
        return done.stdout


def _check(command: Sequence[str], status: int, output: IO[str]) -> None:
    """Raise with the command's own error lines, the fewest that tell what is wrong."""
    if not status:
        return
    output.seek(0)
    lines = [line.strip() for line in output if line.strip()]
    errors = [line[2:].strip() for line in lines if line.startswith(("E:", "Err:"))] or lines[-1:]
    detail = "; ".join(dict.fromkeys(errors[:3])) or f"exit status {status}"
    raise _StepFailed(f"{command[0]}: {detail}")

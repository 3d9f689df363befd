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
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lbkit.cluster.apt import STAND_INS, PrivateApt
from lbkit.cluster.aptsources import Distribution, Source, own_archive, read_sources
from lbkit.cluster.commands import StepFailed, size_of
from lbkit.cluster.prefix import Prefix, unpack, write_wrappers
from lbkit.cluster.report import Report, Silent
from lbkit.errors import StartFailed

__all__ = ["MARIADB", "MYSQL", "ArchiveUnreachable", "Prefix", "Wanted", "cache_root", "fetch", "fetch_tool"]

APT_FOLDER = Path("/etc/apt")
LISTS_MB = 120  # a suite's package lists and apt's own files, rounded up
MEGA = 1_000_000
UNREACHABLE = (
    r"Could not (resolve|connect)|Temporary failure|Network is unreachable|[Tt]imed out|Connection failed"
)
MOVED_ON = r"404|Hash Sum mismatch|unexpected size"


class ArchiveUnreachable(StartFailed):
    """The package archive did not answer: trying other packages of it makes no sense."""


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
    archive = own_archive(read_sources(APT_FOLDER), distribution)
    if not archive:
        raise StartFailed(f"apt has no archive of {distribution.name} set up. {_advice(wanted)}")
    _require_space(prefix.path.parent, LISTS_MB * MEGA)
    with tempfile.TemporaryDirectory(prefix=f".{prefix.path.name}.", dir=prefix.path.parent) as folder:
        built = Prefix(Path(folder) / "prefix")
        try:
            archives = _download(wanted, archive, Path(folder), report)
            unpack(archives, built)
            write_wrappers(built, wanted.programs)
        except StepFailed as failure:
            raise StartFailed(f"could not get {wanted.name}: {failure}. {_advice(wanted)}") from None
        except OSError as error:
            raise StartFailed(f"could not unpack {wanted.name} in {folder}: {error.strerror}") from None
        shutil.rmtree(prefix.path, ignore_errors=True)
        built.path.rename(prefix.path)
    report.say(f"{wanted.name}: unpacked in {prefix.path}, {size_of(prefix.path) / MEGA:.0f} MB")


def _download(wanted: Wanted, archive: list[Source], folder: Path, report: Report) -> list[Path]:
    """Try the suites in turn; the last failure is the one that is told."""
    failure = StepFailed("nothing was tried")
    for suites, stand_ins in _attempts(wanted):
        try:
            return _attempt(wanted, _suited(archive, suites), stand_ins, folder, report)
        except StepFailed as error:
            failure = error
    raise failure


def _attempt(
    wanted: Wanted, sources: list[Source], stand_ins: tuple[str, ...], folder: Path, report: Report
) -> list[Path]:
    """One way to get the packages; an archive that moves on between two steps gets a second chance."""
    try:
        return _download_once(wanted, PrivateApt(folder, sources, stand_ins), report)
    except StepFailed as error:
        if not re.search(MOVED_ON, str(error)):
            raise
    return _download_once(wanted, PrivateApt(folder, sources, stand_ins), report)


def _attempts(wanted: Wanted) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    for suites in wanted.suites:
        yield suites, STAND_INS
    yield wanted.suites[-1], ()  # a stand-in may have come to clash with a real package


def _suited(archive: list[Source], suites: tuple[str, ...]) -> list[Source]:
    return [replace(archive[0], suites=suites, components=("main",))] if suites else archive


def _download_once(wanted: Wanted, apt: PrivateApt, report: Report) -> list[Path]:
    report.say(f"{wanted.name}: reading the package lists of {' and '.join(apt.suites)}")
    try:
        apt.update()
        return _download_all(wanted, apt, report)
    except StepFailed as error:
        if re.search(UNREACHABLE, str(error)):
            message = f"could not get {wanted.name}, the package archive cannot be reached: {error}"
            raise ArchiveUnreachable(f"{message}. {_advice(wanted)}") from None
        report.say(f"{wanted.name}: that failed: {error}")
        raise


def _download_all(wanted: Wanted, apt: PrivateApt, report: Report) -> list[Path]:
    names = [apt.newest(package) for package in wanted.packages]
    files = apt.files(names)
    size = sum(files.values())
    unpacked = apt.unpackedsize_of(list(files))
    report.say(
        f"{wanted.name}: {len(files)} packages, {size / MEGA:.0f} MB to download, "
        f"{unpacked / MEGA:.0f} MB on disk"
    )
    _require_space(apt.folder, size + unpacked)
    label = f"{wanted.name}: downloading"
    try:
        apt.download(names, lambda done: report.progress(label, done, size))
    finally:
        report.end(label)
    return sorted(apt.archives.glob("*.deb"))


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StartFailed(
            f"needs {needed / MEGA:.0f} MB in {folder.parent if folder.name.startswith('.') else folder}, "
            f"{free / MEGA:.0f} MB free; set LBKIT_CACHE to a folder with more room"
        )

"""Finding a database server on this machine, or getting one.

Order: ``$LBKIT_MYSQLD``, `mysqld` and `mariadbd` on PATH and where systems hide them from ordinary
users, the cache, a fetched MySQL, and only where that fails MariaDB from the distribution's packages.
A name tells nothing (Debian's mysqld is a link to mariadbd), so each candidate is asked for its version.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from lbkit.cluster.packages import MARIADB, MYSQL, ArchiveUnreachable, Prefix, fetch, prefix_of
from lbkit.cluster.report import Report, Silent
from lbkit.errors import StartFailed

__all__ = ["Flavour", "ServerProgram", "find_server"]

Flavour = Literal["mysql", "mariadb"]

# Where Debian, Fedora, Homebrew and the vendors' archives put a server outside an ordinary user's PATH.
SYSTEM_FOLDERS = (
    "/usr/sbin",
    "/usr/libexec",
    "/usr/local/sbin",
    "/usr/local/mysql/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/mysql/bin",
    "/opt/homebrew/opt/mariadb/bin",
)
# MySQL 8.0.26 has the words source and replica; MariaDB 10.5 has SLAVE MONITOR.
OLDEST: dict[Flavour, tuple[int, int, int]] = {"mysql": (8, 0, 26), "mariadb": (10, 5, 2)}
VERSION_TIMEOUT = 20.0  # seconds; a first run from a cold disk reads 60 MB
APPARMOR = Path("/etc/apparmor.d")


@dataclass(frozen=True, slots=True)
class ServerProgram:
    """A runnable database server.

    `options` are the arguments every run of it needs, and come first: no configuration files of the
    system, and for a private copy where its files are.
    """

    path: Path
    flavour: Flavour
    version: tuple[int, int, int]
    options: tuple[str, ...] = ("--no-defaults",)

    def __str__(self) -> str:
        name = {"mysql": "MySQL", "mariadb": "MariaDB"}[self.flavour]
        return f"{name} {'.'.join(map(str, self.version))} ({self.path})"

    @property
    def share(self) -> Path:
        """The folder with its SQL scripts and messages; StartFailed where it is not found."""
        prefix = Prefix.of(self.path)
        base = prefix.root / "usr" if prefix else self.path.resolve().parent.parent
        for name in (f"share/{self.flavour}", "share/mysql", "share"):
            if (base / name / "english" / "errmsg.sys").is_file():
                return base / name
        raise StartFailed(f"{self.path} has no share folder below {base}: its installation is incomplete")


def find_server(flavour: Flavour | None = None, report: Report | None = None) -> ServerProgram:
    """The database server to use; only *flavour*, where one is given.

    Blocking, and long where it has to be fetched: a command calls it before it starts its event loop.
    Raises StartFailed in one line when there is none and none can be had, or ``$LBKIT_MYSQLD`` is wrong.
    """
    report = report or Silent()
    if (own := _from_environment()) and flavour in (None, own.flavour):
        return own
    for program in _installed(report):
        if flavour in (None, program.flavour):
            return program
    if flavour != "mariadb":
        try:
            return _fetched("mysql", report)
        except ArchiveUnreachable:
            raise
        except StartFailed as failure:
            if flavour:
                raise
            report.say(f"{failure}; trying MariaDB instead")
    return _fetched("mariadb", report)


def _from_environment() -> ServerProgram | None:
    path = os.environ.get("LBKIT_MYSQLD")
    if not path:
        return None
    found = shutil.which(path)
    if not found:
        raise StartFailed(f"LBKIT_MYSQLD={path} is not a program")
    program = _ask(Path(found).absolute())
    if isinstance(program, str):
        raise StartFailed(f"LBKIT_MYSQLD={path}: {program}")
    return program


def _installed(report: Report) -> Iterator[ServerProgram]:
    seen = set()
    for path in _candidates():
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        if _confined(path):
            report.say(f"leaving out {path}: its AppArmor profile keeps it from private data directories")
            continue
        program = _ask(path)
        if isinstance(program, str):
            report.say(f"leaving out {path}: {program}")
        else:
            yield program


def _candidates() -> Iterator[Path]:
    for name in ("mysqld", "mariadbd"):
        if found := shutil.which(name):
            yield Path(found).absolute()
        for folder in SYSTEM_FOLDERS:
            if os.access(f"{folder}/{name}", os.X_OK):
                yield Path(folder, name)


def _confined(path: Path) -> bool:
    """Whether AppArmor would refuse it a data directory of ours, as Ubuntu's profile does."""
    profile = ".".join(path.resolve().parts[1:])
    try:
        rules = (APPARMOR / profile).read_text()
    except OSError:
        return False
    # Debian's MariaDB ships an empty profile, whose only use is to replace an older one.
    confines = any(line.strip() and not line.lstrip().startswith("#") for line in rules.splitlines())
    return confines and not (APPARMOR / "disable" / profile).exists()


def _fetched(flavour: Flavour, report: Report) -> ServerProgram:
    wanted = {"mysql": MYSQL, "mariadb": MARIADB}[flavour]
    if not prefix_of(wanted).ready:
        report.say(f"no {flavour} server on this machine; getting one into {prefix_of(wanted).path}")
    prefix = fetch(wanted, report)
    program = _ask(prefix.program({"mysql": "mysqld", "mariadb": "mariadbd"}[flavour]))
    if isinstance(program, str):
        raise StartFailed(f"the fetched {flavour} in {prefix.path} does not run: {program}")
    return program


def _ask(path: Path) -> ServerProgram | str:
    """The program behind *path*, or in a few words why it can't be used."""
    try:
        done = subprocess.run(
            [path, "--no-defaults", "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"
    return _understand(path, done.stdout)


def _understand(path: Path, answer: str) -> ServerProgram | str:
    match = re.search(r"Ver (\d+)\.(\d+)\.(\d+)(\S*)", answer)
    if not match:
        return "is not a database server (no version in its answer to --version)"
    version = cast("tuple[int, int, int]", tuple(map(int, match.groups()[:3])))
    flavour: Flavour = "mariadb" if "mariadb" in match[4].lower() else "mysql"
    if version < OLDEST[flavour]:
        needed = ".".join(map(str, OLDEST[flavour]))
        return f"is {flavour} {'.'.join(map(str, version))}, at least {needed} is needed"
    return ServerProgram(path, flavour, version, _options(path, flavour))


def _options(path: Path, flavour: Flavour) -> tuple[str, ...]:
    options = ["--no-defaults"]
    if flavour == "mysql":
        # The compiled-in folder for LOAD DATA must exist, or the server refuses to start.
        options.append("--secure-file-priv=NULL")
    if prefix := Prefix.of(path):
        usr = prefix.root / "usr"
        share = usr / "share" / "mysql"
        if flavour == "mariadb" and (usr / "share" / "mariadb" / "english").is_dir():
            share = usr / "share" / "mariadb"
        options += [
            f"--basedir={usr}",
            f"--plugin-dir={usr}/lib/mysql/plugin",
            f"--lc-messages-dir={share}",
            f"--character-sets-dir={share}/charsets",
        ]
    return tuple(options)

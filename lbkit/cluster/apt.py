"""`PrivateApt`: apt-get with lists, status and cache of its own, for packages that are not installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lbkit.cluster.aptsources import Source, render
from lbkit.cluster.commands import StepFailed, check, run, size_of

__all__ = ["STAND_INS", "PrivateApt"]

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


class PrivateApt:
    """apt-get with everything private to *folder* but the archive, its key, and how it is reached."""

    def __init__(self, folder: Path, sources: list[Source], stand_ins: tuple[str, ...]) -> None:
        self.folder = folder
        self.archives = folder / "archives"
        self.suites = list(dict.fromkeys(suite for source in sources for suite in source.suites))
        # What another attempt downloaded may be of other versions.
        shutil.rmtree(self.archives, ignore_errors=True)
        for name in ("lists/partial", "archives/partial", "dpkg", "empty", "sources"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._arch = run(["dpkg", "--print-architecture"]).strip()
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
            raise StepFailed(f"no package {stem} in {' and '.join(self.suites)}")
        return min(real, key=lambda name: (name != stem, [-int(n) for n in re.findall(r"\d+", name)]))

    def files(self, names: list[str]) -> dict[str, int]:
        """``name=version`` → bytes to download, the whole closure of *names*."""
        lines = self._apt("apt-get", "-qq", "--print-uris", "install", *names)
        found = re.findall(r"^'\S+' (\S+)_(\S+)_\w+\.deb (\d+) ", lines, re.MULTILINE)
        return {f"{name}={version.replace('%3a', ':')}": int(size) for name, version, size in found}

    def unpackedsize_of(self, versions: list[str]) -> int:
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
                    progress(size_of(self.archives))
                    time.sleep(0.2)
            finally:
                process.kill()
                process.wait()
            progress(size_of(self.archives))
            check(command, process.returncode, output)

    def _apt(self, *command: str) -> str:
        return run(command, self._env)

    def _stand_in(self, package: str) -> str:
        return (
            f"Package: {package}\nStatus: install ok installed\nVersion: 9999\n"
            f"Architecture: {self._arch}\nMulti-Arch: allowed\nMaintainer: nobody\n"
            "Description: stand-in\n\n"
        )

    @staticmethod
    def _network_settings() -> str:
        """The machine's own proxies, certificates and time limits, but none of its hooks."""
        dump = run(["apt-config", "dump"])
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

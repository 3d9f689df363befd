"""Empty data directories: initialised once for each server version, then copied.

MySQL takes 3 to 7 seconds to fill an empty data directory and a copy takes 0.1, so the result is kept in
the cache. The copy leaves out blocks of zeros: most of a fresh InnoDB file is never written.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from lbkit.cluster.child import Child, describe_exit
from lbkit.cluster.database import ServerProgram
from lbkit.cluster.flavours import flavour_of
from lbkit.cluster.packages import cache_root
from lbkit.cluster.report import Report
from lbkit.cluster.serverlog import first_error, running_as
from lbkit.cluster.statedir import StateDir
from lbkit.errors import StartFailed

__all__ = ["copy_sparse", "new_data_directory"]

INITIALISE_TIMEOUT = 120.0  # seconds; 3 to 7 on an idle machine
LOCK_POLL = 0.1  # seconds between tries for another process's lock
BLOCK = 65536
OPENING_SQL = "CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
# MariaDB's scripts make root accounts without a password for 127.0.0.1, ::1 and the host's name; the one
# that is left gets its password before the server accepts a connection.
CLOSING_SQL = (
    "DELETE FROM mysql.global_priv WHERE User IN ('root', '') AND Host <> 'localhost';\n"
    "DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost';\n"
)
# Identity of one server and leftovers of the first run: a copy must make its own.
NOT_COPIED = ("auto.cnf", "binlog.*", "server.pid", "ib_buffer_pool")


async def new_data_directory(program: ServerProgram, target: Path, state: StateDir, report: Report) -> None:
    """Make *target* an initialised data directory without databases of the user.

    It appears complete or not at all. Raises StartFailed when the server can't initialise one or
    the disk is full.
    """
    template = await _template(program, state, report)
    partial = target.with_name(f".{target.name}.partial")
    try:
        await asyncio.to_thread(_replace_by_copy, template, partial, target)
    except (OSError, shutil.Error) as error:
        raise StartFailed(f"cannot make {target}: {error}") from None


def _replace_by_copy(template: Path, partial: Path, target: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    ignore = shutil.ignore_patterns(*NOT_COPIED)
    shutil.copytree(template, partial, copy_function=copy_sparse, symlinks=True, ignore=ignore)
    partial.rename(target)


def copy_sparse(source: str, target: str) -> None:
    """Copy one file; blocks of zeros become holes."""
    zeros = bytes(BLOCK)
    with Path(source).open("rb", buffering=0) as reader, Path(target).open("wb", buffering=0) as writer:
        while block := reader.read(BLOCK):
            if block == zeros[: len(block)]:
                writer.seek(len(block), os.SEEK_CUR)
            else:
                writer.write(block)
        writer.truncate(writer.tell())
    shutil.copymode(source, target)


async def _template(program: ServerProgram, state: StateDir, report: Report) -> Path:
    flavour = flavour_of(program)
    identity = "\n".join([str(program.path), *flavour.initialise_options(""), *flavour.initialise_scripts()])
    identity += OPENING_SQL + CLOSING_SQL
    version = ".".join(map(str, program.version))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    template = cache_root() / "templates" / f"{program.flavour}-{version}-{digest}"
    if template.is_dir():
        return template
    try:
        template.parent.mkdir(parents=True, exist_ok=True)
        async with _locked(template.with_suffix(".lock")):
            if not template.is_dir():
                report.say(f"initialising a data directory for {program}; once, it is kept in {template}")
                await _build(program, template, state)
    except OSError as error:
        raise StartFailed(f"cannot write to {template.parent}: {error}; set LBKIT_CACHE") from None
    return template


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """The lock file *path*, waited for without blocking the loop."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(LOCK_POLL)
        yield


async def _build(program: ServerProgram, template: Path, state: StateDir) -> None:
    for stale in template.parent.glob(f".{template.name}.*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{template.name}.", dir=template.parent) as folder:
        data = f"{folder}/data"
        command = _command(program, folder, data)
        await _run(program, Child(state, f"{program.flavour}-initialise", command, Path(folder, "log")))
        await asyncio.to_thread(Path(data).rename, template)


def _command(program: ServerProgram, folder: str, data: str) -> list[str]:
    Path(data).mkdir(mode=0o700)
    options = [*program.options, *running_as(), *flavour_of(program).initialise_options(data)]
    command = [str(program.path), *options]
    script = _script(program)
    if not script:
        return command
    Path(folder, "script.sql").write_text(script, errors="surrogateescape")
    # Child's own standard input is taken by its gate, so a shell feeds the script.
    return ["/bin/sh", "-c", 'script=$1; shift; exec "$@" <"$script"', "sh", f"{folder}/script.sql", *command]


async def _run(program: ServerProgram, child: Child) -> None:
    try:
        await child.start()
        async with asyncio.timeout(INITIALISE_TIMEOUT):
            status = await child.wait()
    except TimeoutError:
        raise StartFailed(f"{program} did not initialise in {INITIALISE_TIMEOUT:.0f} s") from None
    finally:
        await child.stop(0)
    if status:
        reason = first_error(child.new_log()) or describe_exit(status)
        raise StartFailed(f"{program} cannot initialise a data directory: {reason}")


def _script(program: ServerProgram) -> str:
    names = flavour_of(program).initialise_scripts()
    if not names:
        return ""
    parts = [OPENING_SQL]
    for name in names:
        files = [program.share / name.format(prefix) for prefix in ("mariadb", "mysql")]
        found = next((file for file in files if file.is_file()), None)
        if found:
            parts.append(found.read_text(errors="surrogateescape"))
        elif "system_tables" in name:
            raise StartFailed(f"{program.share} lacks {files[0].name}: the installation is incomplete")
    return "\n".join([*parts, CLOSING_SQL])

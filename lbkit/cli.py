"""The command line: click commands that build a configuration, run it, and turn errors into exit codes.

0 fine, 2 wrong usage or configuration, 3 an application that did not start or stop, 1 anything else; errors
are one clear line each on stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.util
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from lbkit import __version__
from lbkit.balancing import ALGORITHMS
from lbkit.checks import CHECKS
from lbkit.cluster.pair import DatabaseCluster, find_server_for
from lbkit.cluster.report import console
from lbkit.cluster.stack import Stack, StackSettings
from lbkit.commands.app import EXIT_APP, app_command
from lbkit.commands.bench import bench_command
from lbkit.commands.certs import certs_command
from lbkit.commands.firewall import firewall_command
from lbkit.commands.mysql import mysql_command
from lbkit.commands.plan import plan_command
from lbkit.commands.running import ADDRESS, log_to_stderr, on_signals, run_loop, unless, until_signal
from lbkit.commands.simulate import simulate_command
from lbkit.config import Config, GlobalConfig, load, load_text, loads, read_text
from lbkit.config.values import quoted
from lbkit.errors import AppFailed, ConfigError, LbkitError
from lbkit.mysql import Dsn
from lbkit.mysql.failover import Failover, FailoverOptions
from lbkit.registry import Registry, nearest
from lbkit.relay import RELAYS
from lbkit.runtime import (
    Runtime,
    Secrets,
    Source,
    Supervisor,
    catalog,
    run_worker,
    worker_command,
    worker_count,
)
from lbkit.server import Address
from lbkit.units import Duration

__all__ = ["main"]

logger = logging.getLogger("lbkit")

EXIT_USAGE = 2
EXIT_FAILED = 1
_LOG_LEVELS = ("debug", "info", "warning", "error")


def main() -> None:
    """Run the command line; `lbkit.__main__` calls it."""
    with _exit_codes():
        cli()


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"lbkit: {problem}", err=True)
        sys.exit(EXIT_USAGE)
    except LbkitError as error:
        click.echo(f"lbkit: {error}", err=True)
        sys.exit(EXIT_APP if isinstance(error, AppFailed) else EXIT_FAILED)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lbkit")
@click.option("--log-level", type=click.Choice(_LOG_LEVELS), default="info", show_default=True)
@click.option(
    "--load",
    "files",
    metavar="FILE.py",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Run this file first: algorithms, checks and relays that it registers can then be named.",
)
def cli(log_level: str, files: tuple[Path, ...]) -> None:
    """Load balancer, web server, ASGI server and MySQL cluster.

    \b
    Start with the whole stack on this machine:   lbkit up
    A balancer from flags:                         lbkit run --listen 127.0.0.1:8080 --server 127.0.0.1:9001
    The same from a file:                          lbkit run lbkit.toml
    """
    log_to_stderr(log_level)
    for file in files:
        _load_parts(file)


def _load_parts(file: Path) -> None:
    """Import *file* for what it registers."""
    if not file.is_file():
        raise ConfigError(f"--load {file}: there is no such file")
    name = f"lbkit_loaded.{file.stem}"  # a file called random.py must not become the module random
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--load {file}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"--load {error.filename}, line {error.lineno}: {error.msg}") from None
    except Exception as error:  # noqa: BLE001 - whatever the file does, it is the file's mistake
        at = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error} ({at.filename}, line {at.lineno})"
        raise ConfigError(f"--load {file}: {message}") from None


# ---------------------------------------------------------------------------------------------- run


@cli.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--listen", metavar="ADDR", help="Address to listen on, such as 127.0.0.1:8080.")
@click.option("--server", "servers", metavar="ADDR", multiple=True, help="A server; repeat it for each.")
@click.option("--mode", type=click.Choice(["tcp", "http"]), default="tcp", show_default=True)
@click.option(
    "--algorithm", metavar="NAME", default="round_robin", show_default=True, help="See `lbkit list`."
)
@click.option("--check", metavar="NAME", help="Health check, see `lbkit list`; none where left out.")
@click.option("--admin", metavar="ADDR", help="Serve dashboard, /metrics and /status here.")
@click.option(
    "--tls-certificate",
    metavar="FILE",
    help="End TLS here with this certificate, PEM, chain included; `lbkit certs` makes one.",
)
@click.option("--tls-key", metavar="FILE", help="Its key, where that is in a file of its own.")
@click.option(
    "--workers",
    metavar="N",
    default="1",
    show_default=True,
    help='Processes that share the traffic; "auto": one for each core. In a FILE: workers under [global].',
)
def run(
    file: Path | None,
    listen: str | None,
    servers: tuple[str, ...],
    mode: str,
    algorithm: str,
    check: str | None,
    admin: str | None,
    tls_certificate: str | None,
    tls_key: str | None,
    workers: str,
) -> None:
    """Run listeners and pools from a TOML FILE, or one listener and one pool from flags.

    \b
    SIGHUP reads FILE again: pools and servers change in place and no session is cut;
           a wrong file changes nothing.
    SIGTERM and Ctrl-C stop accepting, let sessions end within drain_timeout, and exit 0;
           a second one stops at once.

    With workers send them to the first process; it tells the others.
    """
    source = click.get_current_context().get_parameter_source
    flags = [name for name in _RUN_FLAGS if source(name) is ParameterSource.COMMANDLINE]
    if (file is None) == (not flags):
        raise ConfigError("give either FILE, or --listen and --server (see lbkit run --help)")
    if file is not None:
        path = file
        run_loop(_serve(_read_source(path), lambda: _read_source(path)))
    elif not listen or not servers:
        raise ConfigError("both --listen and --server are needed")
    else:
        text = _toml_of_flags(listen, servers, mode, algorithm, check, admin, workers)
        text += _toml_of_tls(tls_certificate, tls_key)
        run_loop(_serve(Source(_load_flags(text), text), None))


_RUN_FLAGS = (
    "listen", "servers", "mode", "algorithm", "check", "admin", "tls_certificate", "tls_key", "workers",
)  # fmt: skip


def _read_source(path: Path) -> Source:
    text = read_text(path)
    return Source(load_text(text, path, catalog()), text, path.parent)


def _toml_of_flags(
    listen: str,
    servers: tuple[str, ...],
    mode: str,
    algorithm: str,
    check: str | None,
    admin: str | None,
    workers: str,
) -> str:
    """The file that says the same as the flags: one set of rules and messages for both."""
    lines = [f"[global]\nworkers = {workers if workers.isdecimal() else quoted(workers)}"]
    lines += [f"[listeners.main]\nlisten = {quoted(listen)}\nmode = {quoted(mode)}\npool = 'main'"]
    if admin is not None:
        lines.append(f"[admin]\nlisten = {quoted(admin)}")
    lines.append(f"[pools.main]\nalgorithm = {quoted(algorithm)}")
    if check is not None:
        lines.append(f"[pools.main.health]\ncheck = {quoted(check)}")
    lines += [
        f"[[pools.main.servers]]\nname = 'server{number}'\naddress = {quoted(server)}"
        for number, server in enumerate(servers, 1)
    ]
    return "\n".join(lines)


def _toml_of_tls(certificate: str | None, key: str | None) -> str:
    """The same for TLS; paths are relative to the current folder, as those of flags are."""
    if certificate is None:
        if key is not None:
            raise ConfigError("--tls-key needs --tls-certificate")
        return ""
    lines = ["", "[listeners.main.tls]", f"certificate = {quoted(certificate)}"]
    return "\n".join(lines if key is None else [*lines, f"key = {quoted(key)}"])


_FLAGS = {
    "listeners.main.tls.certificate": "--tls-certificate",
    "listeners.main.tls.key": "--tls-key",
    "global.workers": "--workers",
    "listeners.main.listen": "--listen",
    "admin.listen": "--admin",
    "pools.main.algorithm": "--algorithm",
    "pools.main.health.check": "--check",
}


def _load_flags(text: str) -> Config:
    try:
        config = loads(text, catalog())
        Secrets.of(config)  # here, where what is wrong with them can be said of the flags
        return config
    except ConfigError as error:
        raise ConfigError([_name_flag(line) for line in error.problems]) from None


def _name_flag(line: str) -> str:
    path, _, message = line.partition(": ")
    flag = "--server" if path.startswith("pools.main.servers") else _FLAGS.get(path, path)
    return f"{flag}: {message}"


async def _serve(source: Source, read_again: Callable[[], Source] | None) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP reloads."""
    count = worker_count(source.config)
    running = Runtime(source.config) if count == 1 else Supervisor(source, count, _worker_command())
    stopping = on_signals(signal.SIGTERM, signal.SIGINT)
    if read_again is not None:
        # Before the start, which may wait for checks: without a handler the signal would end the process.
        _reload_on_hangup(running, source.config.global_, read_again)
    try:
        if await unless(stopping, running.start()):
            await stopping.wait()
            stopping.clear()
            await unless(stopping, running.drain())
    finally:
        await running.close()


def _worker_command() -> list[str]:
    """What of this command line a worker needs, too."""
    given = click.get_current_context().find_root().params
    loads = [argument for file in given["files"] for argument in ("--load", str(file))]
    return worker_command(["--log-level", given["log_level"], *loads])


def _reload_on_hangup(
    running: Runtime | Supervisor, began: GlobalConfig, read_again: Callable[[], Source]
) -> None:
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(_reload(running, began, read_again))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)


async def _reload(
    running: Runtime | Supervisor, began: GlobalConfig, read_again: Callable[[], Source]
) -> None:
    try:
        source = read_again()
        if source.config.global_.workers != began.workers:
            raise ConfigError(
                f"global.workers: was {began.workers} at the start; another number needs a restart"
            )
        if isinstance(running, Supervisor):
            await running.reload(source)
        else:
            await running.reload(source.config)
    except ConfigError as error:
        running.failed_reloads += 1
        for problem in error.problems:
            logger.error("reload refused, nothing changed: %s", problem)
    except LbkitError as error:
        running.failed_reloads += 1
        logger.error("reload refused, nothing changed: %s", error)


@cli.command(hidden=True)
@click.argument("descriptor", type=int)
@click.argument("number", type=int)
def worker(descriptor: int, number: int) -> None:
    """One of the processes of `workers`: started by `lbkit run`, which DESCRIPTOR leads to."""
    log_to_stderr(click.get_current_context().find_root().params["log_level"], f"worker {number}: ")
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    run_loop(run_worker(sock))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Read FILE and print every problem in it. Exit 0 when there is none, else 2."""
    config = load(file, catalog())
    try:
        Secrets.of(config).warn()
    except ConfigError as error:
        raise ConfigError([f"{file}: {line}" for line in error.problems]) from None
    servers = sum(len(pool.servers) for pool in config.pools.values())
    click.echo(
        f"{file}: fine: {len(config.listeners)} listeners, {len(config.pools)} pools, {servers} servers"
    )


# ------------------------------------------------------------------------------------ single servers


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--listen", metavar="ADDR", default="127.0.0.1:8000", show_default=True)
@click.option("--spa", is_flag=True, help="Answer with /index.html where nothing is: its page finds the way.")
@click.option("--autoindex", is_flag=True, help="List what is in folders without an index.html.")
@click.option("--not-found", metavar="PATH", default="", help="The page of a 404, such as /404.html.")
@click.option(
    "--cache-control",
    "rules",
    metavar="PATTERN=VALUE",
    multiple=True,
    help="Cache-Control for paths, the first that matches; repeat it.",
)
def static(
    folder: Path, listen: str, spa: bool, autoindex: bool, not_found: str, rules: tuple[str, ...]
) -> None:
    """Serve the files of the folder DIR.

    A folder is answered with its index.html. Hidden files and links that lead out of DIR are not there. What
    changes is seen within a second. Files named as another with .br, .zst or .gz behind it stand in for that;
    text is compressed for who takes gzip. Parts of files and all conditional requests are answered.

    \b
    lbkit static site
    lbkit static dist --spa --cache-control '/assets/*=max-age=31536000, immutable'
    lbkit static files --autoindex --listen 0.0.0.0:8080

    The same in a configuration, with TLS, firewall and other routes beside it: static = "DIR" in
    [[listeners.NAME.routes]], and files = { ... } for what the options say.
    """
    files = _files_table(spa, autoindex, not_found, rules)
    route = f"[[listeners.static.routes]]\npath = '/'\nstatic = {quoted(str(folder.absolute()))}\n{files}"
    config = f"[listeners.static]\nlisten = {quoted(listen)}\nmode = 'http'\n{route}"
    names = {
        "listeners.static.listen": "--listen",
        "listeners.static.routes[1].static": "DIR",
        "listeners.static.routes[1].files.not_found": "--not-found",
    }
    try:
        source = Source(loads(config, catalog()), config)
    except ConfigError as error:
        lines = (line.partition(": ") for line in error.problems)
        raise ConfigError([f"{names.get(path, path)}: {message}" for path, _, message in lines]) from None
    run_loop(_serve(source, None))


def _files_table(spa: bool, autoindex: bool, not_found: str, rules: tuple[str, ...]) -> str:
    """The options of ``lbkit static`` as the key `files`. Raises ConfigError."""
    cache_control: dict[str, str] = {}
    for rule in rules:
        pattern, equals, value = rule.partition("=")
        if not (equals and value and pattern.startswith(("/", "*"))):
            raise ConfigError(
                f'--cache-control: "{rule}" is not as "/assets/*=max-age=3600": a pattern, "=" and a value'
            )
        cache_control.setdefault(pattern, value)
    table = ", ".join(f"{quoted(pattern)} = {quoted(value)}" for pattern, value in cache_control.items())
    tries = '"${path}", "${path}/", "/index.html"' if spa else ""
    return (
        f"files = {{ autoindex = {str(autoindex).lower()}, not_found = {quoted(not_found)}, "
        f"try_files = [{tries}], cache_control = {{ {table} }} }}"
    )


# ---------------------------------------------------------------------------------------- the stack


def _default_directory(name: str) -> Path:
    return Path(".lbkit") / name


_FLAVOURS = click.Choice(["mysql", "mariadb"])


@cli.command()
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="State (default: .lbkit/stack).",
)
@click.option("--listen", metavar="ADDR", type=ADDRESS, default="127.0.0.1:8080", show_default=True)
@click.option("--admin", metavar="ADDR", type=ADDRESS, default="127.0.0.1:8404", show_default=True)
@click.option(
    "--first-port",
    type=click.IntRange(1, 65_000),
    help="First of the ports behind the balancer: web servers, app servers, databases (default: free ones).",
)
@click.option(
    "--algorithm", metavar="NAME", default="round_robin", show_default=True, help="See `lbkit list`."
)
@click.option("--web-servers", type=click.IntRange(1, 32), default=2, show_default=True)
@click.option("--app-servers", type=click.IntRange(1, 32), default=2, show_default=True)
@click.option("--replicas", type=click.IntRange(0, 8), default=1, show_default=True)
@click.option(
    "--flavour", type=_FLAVOURS, help="Database server to take (default: what is found, else MySQL)."
)
@click.option("--no-mysql", is_flag=True, help="Leave the database part out.")
def up(
    directory: Path | None,
    listen: Address,
    admin: Address,
    first_port: int | None,
    algorithm: str,
    web_servers: int,
    app_servers: int,
    replicas: int,
    flavour: Any,
    no_mysql: bool,
) -> None:
    """Run the whole stack on this machine: balancer, web servers, app servers, MySQL pair.

    Everything listens on loopback and keeps its state, logs and configuration files under DIR.
    Ctrl-C stops all of it. A part that dies is started again.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigError(
            f'--algorithm: unknown algorithm "{algorithm}"{nearest(algorithm, ALGORITHMS, listed=True)}'
        )
    settings = StackSettings(
        (directory or _default_directory("stack")).absolute(),
        listen=listen,
        admin=admin,
        first_port=first_port or 0,
        algorithm=algorithm,
        web_servers=web_servers,
        app_servers=app_servers,
        replicas=replicas,
        mysql=not no_mysql,
        flavour=flavour,
    )
    report = console()
    if settings.mysql:
        # Before the loop starts: a download can then be interrupted at once.
        find_server_for(settings.databases, flavour, report)
    run_loop(until_signal(_run_stack(Stack(settings, report))))


async def _run_stack(stack: Stack) -> None:
    async with stack:
        _print_stack(stack)
        await stack.wait()


def _print_stack(stack: Stack) -> None:
    table = Table(title="The stack is up. Ctrl-C stops it.", title_justify="left")
    for column in ("part", "what", "address", "pid"):
        table.add_column(column)
    for part in stack.parts():
        table.add_row(part.name, part.what, part.address, str(part.pid))
    output = Console(highlight=False)
    output.print(table)
    if not stack.settings.mysql:
        output.print("Without a database (--no-mysql): the guestbook keeps its entries in memory.")
    output.print(f"guestbook  http://{stack.settings.listen}/")
    output.print(f"metrics    http://{stack.settings.admin}/metrics")
    output.print(f"status     http://{stack.settings.admin}/status")
    output.print(f"state      {stack.settings.directory}", soft_wrap=True)


@mysql_command.command("up")
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="State (default: .lbkit/mysql).",
)
@click.option("--replicas", type=click.IntRange(0, 8), default=1, show_default=True)
@click.option(
    "--flavour", type=_FLAVOURS, help="Database server to take (default: what is found, else MySQL)."
)
@click.option(
    "--failover",
    is_flag=True,
    help="Promote a replica when the primary dies; without it the primary is started again.",
)
@click.option(
    "--group",
    is_flag=True,
    help="A group that elects its primary by itself (MySQL Group Replication); --replicas 2 or more.",
)
@click.option(
    "--semi-sync/--no-semi-sync",
    default=None,
    help="Answer a commit when a replica has it (default: with --failover).",
)
def mysql_up(
    directory: Path | None,
    replicas: int,
    flavour: Any,
    failover: bool,
    group: bool,
    semi_sync: bool | None,
) -> None:
    """Run a primary and its replicas as child processes and print their addresses.

    Ctrl-C stops them. The data stays in DIR for the next start, and DIR/lbkit.toml is a configuration
    for `lbkit mysql status`, `promote` and `drill`.
    """
    if failover and not replicas:
        raise ConfigError("--failover: needs a replica; say --replicas 1")
    if group and (replicas < 2 or failover or semi_sync):
        raise ConfigError("--group: needs --replicas 2 or more, and waits and elects by itself")
    report = console()
    path = (directory or _default_directory("mysql")).absolute()
    program = find_server_for(path, "mysql" if group else flavour, report)
    cluster = DatabaseCluster(
        path,
        replicas=replicas,
        program=program,
        supervise=True,
        managed=failover,
        semi_sync=failover if semi_sync is None else semi_sync,
        group=group,
        report=report,
    )
    run_loop(until_signal(_run_databases(cluster, failover)))


async def _run_databases(cluster: DatabaseCluster, failover: bool) -> None:
    async with cluster, contextlib.AsyncExitStack() as stack:
        for server in cluster.servers:
            click.echo(f"{server.name}  {server.role:8}  {server.dsn}")
        watch = _failover_of(cluster)
        if failover:
            await stack.enter_async_context(watch)
        await cluster.wait()


def _failover_of(cluster: DatabaseCluster) -> Failover:
    """For *cluster*; a configuration for the commands that ask for one is left in its directory."""
    dsns = [Dsn.parse(server.admin_dsn).named(server.name) for server in cluster.servers]
    secret = cluster.directory / "admin.secret"
    secret.unlink(missing_ok=True)
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(dsns[0].password)
    config = cluster.directory / "lbkit.toml"
    servers = ", ".join(quoted(str(dsn.address)) for dsn in dsns)
    config.write_text(
        f"[mysql.main]\nuser = {quoted(dsns[0].user)}\npassword_file = {quoted(secret.name)}\n"
        f"servers = [{servers}]\n"
    )
    click.echo(f"lbkit mysql status {config}")
    return Failover(dsns, FailoverOptions(clone=True))


# ----------------------------------------------------------------- commands of their own files

cli.add_command(app_command)
cli.add_command(simulate_command)
cli.add_command(plan_command)
cli.add_command(bench_command)
cli.add_command(certs_command)
cli.add_command(firewall_command)
cli.add_command(mysql_command)


# --------------------------------------------------------------------------------------------- list


def _as_toml(value: Any) -> str:
    """A default as one would write it in a file."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "(none)"
    if isinstance(value, (str, Duration)):
        return quoted(str(value))
    return "[]" if value == () else str(value)


@cli.command("list")
def list_parts() -> None:
    """List algorithms, health checks and relays with their options."""
    output = Console(highlight=False)
    sections: list[tuple[str, Registry[Any]]] = [
        ("algorithms", ALGORITHMS),
        ("checks", CHECKS),
        ("relays", RELAYS),
    ]
    for title, registry in sections:
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(style="cyan", no_wrap=True)
        for entry in registry.values():
            table.add_row(entry.name, entry.summary)
            for option in dataclasses.fields(entry.options):
                table.add_row("", f"[dim]{option.name} = {_as_toml(option.default)}[/dim]")
        output.print(table)

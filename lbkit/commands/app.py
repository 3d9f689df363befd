"""``lbkit app``: the app server, in this process or in workers."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from lbkit.asgi import AsgiServer, WebSocketSettings
from lbkit.commands.running import ADDRESS, SIZE, log_to_stderr, on_signals, run_loop, unless, until_signal
from lbkit.config import TlsConfig
from lbkit.errors import AppFailed, ConfigError, LbkitError
from lbkit.http.trusted import UNIX, Trusted
from lbkit.runtime import AppWorkers, Link
from lbkit.server import Address
from lbkit.tls import Termination

__all__ = ["EXIT_APP", "app_command"]

logger = logging.getLogger("lbkit")

EXIT_APP = 3
"""The application did not start, or did not stop in its time."""
_EXIT_FAILED = 1
_LAST = 5.0
"""Seconds that threads and tasks of the application may take to end after everything has stopped."""
_NOT_STOPPED = "the application did not stop as it should: see above"
_WEBSOCKET = WebSocketSettings()

Command = Callable[..., None]


def _server_options(command: Command) -> Command:
    """Those that each worker is told, too: `_Serving.words` passes them on by their names."""
    decorators = [
        click.option(
            "--max-requests",
            metavar="N",
            type=click.IntRange(0),
            default=0,
            help="Replace a worker that has answered so many requests (default: never).",
        ),
        click.option(
            "--max-memory",
            metavar="SIZE",
            type=SIZE,
            default=0,
            help="Replace a worker that has grown to this, such as 512MiB (default: never).",
        ),
        click.option(
            "--max-concurrent",
            metavar="N",
            type=click.IntRange(0),
            default=0,
            help="With so many requests under way in a worker answer 503 with Retry-After (default: never).",
        ),
        click.option(
            "--blocked",
            metavar="SECONDS",
            type=click.FloatRange(0),
            default=5.0,
            show_default=True,
            help="Log where the application holds up the event loop for so long; 0: never.",
        ),
        click.option(
            "--startup-timeout",
            metavar="SECONDS",
            type=click.FloatRange(0, min_open=True),
            default=60.0,
            show_default=True,
            help="How long the application may take to start (lifespan).",
        ),
        click.option(
            "--stop-timeout",
            metavar="SECONDS",
            type=click.FloatRange(0),
            default=10.0,
            show_default=True,
            help="How long requests may take to end when it stops; WebSockets are closed at once (1012).",
        ),
        click.option(
            "--shutdown-timeout",
            metavar="SECONDS",
            type=click.FloatRange(0),
            default=60.0,
            show_default=True,
            help="How long after that the application may take to stop (lifespan).",
        ),
        click.option(
            "--trusted",
            metavar="NET",
            multiple=True,
            default=("127.0.0.1", "::1", UNIX),
            show_default=True,
            help="Believe X-Forwarded-For and -Proto of neighbours in this network. May be repeated.",
        ),
        click.option(
            "--deadlines",
            is_flag=True,
            help="Believe X-Envoy-Expected-Rq-Timeout-Ms of trusted neighbours: see lbkit.deadline.",
        ),
        click.option(
            "--cancel-on-disconnect",
            is_flag=True,
            help="Cancel the task of a request whose client is gone, and with it the query it waits for.",
        ),
        click.option(
            "--tls-certificate",
            metavar="FILE",
            help="Speak TLS, HTTP/2 too, with this certificate, PEM, chain included; see `lbkit certs`.",
        ),
        click.option("--tls-key", metavar="FILE", help="Its key, where that is in a file of its own."),
        click.option(
            "--ws-max-size",
            metavar="SIZE",
            type=SIZE,
            default="16MiB",
            show_default=True,
            help="The longest message of a WebSocket, also when it is inflated; 1009 for more.",
        ),
        click.option(
            "--ws-max-queue",
            metavar="N",
            type=click.IntRange(1),
            default=_WEBSOCKET.queue,
            show_default=True,
            help="Messages held for the application before a client is no longer read from.",
        ),
        click.option(
            "--ws-ping-interval",
            metavar="SECONDS",
            type=click.FloatRange(0),
            default=_WEBSOCKET.ping,
            show_default=True,
            help="Ping WebSockets so often; 0: never.",
        ),
        click.option(
            "--ws-ping-timeout",
            metavar="SECONDS",
            type=click.FloatRange(0, min_open=True),
            default=_WEBSOCKET.ping_timeout,
            show_default=True,
            help="Cut a client that says nothing for so long after a ping.",
        ),
        click.option(
            "--ws-per-message-deflate",
            metavar="BOOLEAN",
            type=bool,
            default=_WEBSOCKET.compression,
            show_default=True,
            help="Whether WebSockets are compressed for clients that ask for it.",
        ),
    ]
    for one in reversed(decorators):
        command = one(command)
    return command


@click.command("app")
@click.argument("app", metavar="MODULE:ATTR")
@click.option("--listen", metavar="ADDR", type=ADDRESS, default="127.0.0.1:8000", show_default=True)
@click.option(
    "--app-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="Look for MODULE here (default: the current folder).",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 512),
    default=1,
    show_default=True,
    help="Processes that share the address. One that dies is replaced.",
)
@_server_options
@click.option(
    "--reload",
    is_flag=True,
    help="Replace the workers when a Python file in DIR changes; for work on the application.",
)
@click.option("--fd", type=click.IntRange(0), help="Accept on this inherited, listening socket; not on ADDR.")
@click.option("--link", type=int, hidden=True)
@click.option("--number", type=int, hidden=True)
def app_command(
    app: str,
    listen: Address,
    app_dir: Path,
    workers: int,
    reload: bool,
    fd: int | None,
    link: int | None,
    number: int | None,
    **options: Any,
) -> None:
    """Serve an ASGI 3 application, such as `mysite.asgi:application`.

    HTTP/1.1 and WebSockets, with --tls-certificate also HTTP/2. SIGTERM and Ctrl-C let requests end and stop
    the application; a second one stops at once. With --workers, --max-requests or --max-memory SIGHUP
    replaces the workers one after the other, each new one before its old one stops: new code and a new
    certificate are taken without a lost request.

    Exit codes: 3 where the application did not start or stop, 2 for wrong usage, 1 for the rest.

    \b
      lbkit app shop.asgi:application --listen 0.0.0.0:8000 --workers 4
      lbkit app main:app --listen unix:/run/shop.sock --max-requests 100000
      lbkit app main:app --listen 127.0.0.1:8443 --tls-certificate www.pem --tls-key www.key
    """
    sock = None if fd is None else _inherited(fd)
    serving = _Serving(app, listen, app_dir.absolute(), workers, reload, sock, options)
    serving.check()
    if link is not None:
        log_to_stderr(click.get_current_context().find_root().params["log_level"], f"worker {number}: ")
        run_loop(_app_worker(serving, Link(socket.socket(fileno=link))))
    elif serving.needs_workers:
        if serving.reload and importlib.util.find_spec("watchfiles") is None:
            raise ConfigError("--reload: needs the package watchfiles: pip install 'lbkit[reload]'")
        if fd is not None:
            raise ConfigError("--fd: goes with one process only; leave out --workers, --max-… and --reload")
        run_loop(until_signal(_app_workers(serving)))
    else:
        run_loop(until_signal(_serve_app(serving)))


@dataclasses.dataclass(frozen=True)
class _Serving:
    """What `lbkit app` was asked for; *options* are those of `_server_options`."""

    app: str
    listen: Address
    app_dir: Path
    workers: int
    reload: bool
    sock: socket.socket | None
    options: dict[str, Any]

    @property
    def needs_workers(self) -> bool:
        worn = self.options["max_requests"] or self.options["max_memory"]
        return self.workers > 1 or bool(worn) or self.reload

    def check(self) -> None:
        """Raises ConfigError for what cannot be, also where workers would find out only later."""
        try:
            Trusted(self.options["trusted"])
        except ValueError as error:
            raise ConfigError(f"--trusted: {error}") from None
        self.tls()

    def tls(self) -> Termination | None:
        """Raises ConfigError."""
        certificate, key = self.options["tls_certificate"], self.options["tls_key"]
        if certificate is None:
            if key is not None:
                raise ConfigError("--tls-key: needs --tls-certificate")
            return None
        try:
            config = TlsConfig(Path(certificate), None if key is None else Path(key))
            return Termination(config, "tls", mode="http")
        except ConfigError as error:
            names = {"tls.certificate": "--tls-certificate", "tls.key": "--tls-key"}
            lines = (line.partition(": ") for line in error.problems)
            raise ConfigError([f"{names.get(path, path)}: {said}" for path, _, said in lines]) from None

    def server(self) -> AsgiServer:
        """Raises StartFailed where there is no such application."""
        from lbkit.asgi import load_app, serve

        sys.path.insert(0, str(self.app_dir))
        options = self.options
        return serve(
            load_app(self.app),
            self.listen,
            trusted=Trusted(options["trusted"]),
            stop_timeout=options["stop_timeout"],
            startup_timeout=options["startup_timeout"],
            shutdown_timeout=options["shutdown_timeout"],
            sock=self.sock,
            max_concurrent=options["max_concurrent"],
            blocked=options["blocked"],
            deadlines=options["deadlines"],
            cancel_on_disconnect=options["cancel_on_disconnect"],
            tls=self.tls(),
            websocket=WebSocketSettings(
                max_message=options["ws_max_size"],
                queue=options["ws_max_queue"],
                ping=options["ws_ping_interval"],
                ping_timeout=options["ws_ping_timeout"],
                compression=options["ws_per_message_deflate"],
            ),
        )

    def command(self) -> list[str]:
        """How a worker is started."""
        given = click.get_current_context().find_root().params
        lbkit = [sys.executable, "-m", "lbkit", "--log-level", given["log_level"]]
        return [*lbkit, "app", self.app, "--app-dir", str(self.app_dir), *self._words()]

    def _words(self) -> Iterator[str]:
        for name, value in self.options.items():
            if name in _FLAGS:
                yield from (f"--{name.replace('_', '-')}",) * value
                continue
            for one in value if isinstance(value, tuple) else (value,):
                if one is not None:
                    yield from (f"--{name.replace('_', '-')}", f"{one}B" if name in _SIZES else str(one))


_SIZES = ("max_memory", "ws_max_size")
_FLAGS = ("deadlines", "cancel_on_disconnect")


def _inherited(descriptor: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ConfigError(f"--fd: {descriptor} is a socket that does not listen")
    except OSError as error:
        raise ConfigError(f"--fd: {descriptor} is no socket: {(error.strerror or '').lower()}") from None
    sock.setblocking(False)
    return sock


async def _serve_app(serving: _Serving) -> None:
    server = serving.server()
    try:
        async with server:
            logger.info("serving %s on %s", serving.app, server.address)
            try:
                await asyncio.Event().wait()
            finally:
                logger.info("stopping")
    finally:
        _end(server)


def _end(server: AsgiServer) -> None:
    """The process ends soon, whatever of the application does not, such as a thread that waits for ever.
    Raises AppFailed where the application did not stop as it should."""

    def leave() -> None:
        logger.error("the application's threads or tasks do not end: they are left behind")
        logging.shutdown()
        os._exit(EXIT_APP)

    timer = threading.Timer(_LAST, leave)
    timer.daemon = True
    timer.start()
    if server.stop_failed:
        raise AppFailed(_NOT_STOPPED)


async def _app_workers(serving: _Serving) -> None:
    options = serving.options
    workers = AppWorkers(
        serving.listen,
        serving.workers,
        serving.command(),
        start_timeout=options["startup_timeout"],
        stop_timeout=options["stop_timeout"] + options["shutdown_timeout"],
    )
    try:
        await workers.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, workers.restart)
        logger.info("serving %s on %s (%d workers)", serving.app, workers.address, serving.workers)
        try:
            if serving.reload:
                await _restart_on_changes(serving.app_dir, workers)
            await asyncio.Event().wait()
        finally:
            logger.info("stopping")
    finally:
        await workers.close()
        if workers.stop_failed:
            raise AppFailed(_NOT_STOPPED)


async def _restart_on_changes(folder: Path, workers: AppWorkers) -> None:
    import watchfiles

    logger.info("watching %s", folder)
    async for changes in watchfiles.awatch(folder, watch_filter=watchfiles.PythonFilter()):
        logger.info("changed: %s", ", ".join(sorted(Path(path).name for _, path in changes)))
        workers.restart()


async def _app_worker(serving: _Serving, link: Link) -> None:
    """One of the workers: until SIGTERM, or until its parent is gone."""
    stopping = on_signals(signal.SIGTERM)
    try:
        server = serving.server()
        if not await unless(stopping, server.start()):
            return
    except LbkitError as error:
        link.say(f"failed {error}")  # the parent shows it
        sys.exit(EXIT_APP if isinstance(error, AppFailed) else _EXIT_FAILED)
    link.say("ready")
    work = link.look(server, serving.options["max_requests"], serving.options["max_memory"])
    watching = [asyncio.ensure_future(work), asyncio.ensure_future(link.broken())]
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([waiting, watching[1]], return_when=asyncio.FIRST_COMPLETED)
    for one in (*watching, waiting):
        one.cancel()
    await server.stop()
    _end(server)

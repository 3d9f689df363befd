"""The composition root: the only module that turns a `Config` into running objects.

A reload is carried out in two steps. First everything that can fail is made: new pools, relays, handlers,
and new addresses are bound. Only then is anything changed, and those changes cannot fail: members of pools
in place, what listeners lead to, and which addresses are accepted on. Sessions in progress hold the
objects they began with and are not touched.

The first step also runs the first check of every server that is new. So a listener never accepts for a pool
of which nobody knows yet whether its servers live, at the start as little as after a reload.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import socket
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from lbkit import __version__
from lbkit.admin import AdminApp, View
from lbkit.asgi import AsgiHandler
from lbkit.checks import Prober
from lbkit.config import AdminConfig, Config, ListenerConfig, PoolConfig
from lbkit.config.decoder import key_path
from lbkit.errors import ConfigError
from lbkit.exchange import Handler, HttpServer, HttpSettings
from lbkit.http.trusted import Trusted
from lbkit.mysql.failover import Failover
from lbkit.pool import Known, Pool
from lbkit.proxy.access_log import AccessLog
from lbkit.proxy.forward import Forwarder, ForwardSettings
from lbkit.proxy.http_session import HttpService
from lbkit.proxy.listener import Listener
from lbkit.proxy.origin import Origin
from lbkit.proxy.tcp_session import TcpService, TcpSettings
from lbkit.proxy.ticker import Ticker
from lbkit.relay import Relay, Resources, choose_relay
from lbkit.runtime.control import PoolControl
from lbkit.runtime.databases import Databases, make_failovers
from lbkit.runtime.edge import Edge
from lbkit.runtime.messages import Result
from lbkit.runtime.part import Part
from lbkit.runtime.pools import FirstResults, RunningPool, first_results, make_pool
from lbkit.runtime.shares import Share
from lbkit.runtime.views import RunningListener, Service, leads_to, view_of
from lbkit.runtime.web import Prepared, deadline_field, prepare, route_handler
from lbkit.server import Address, Server
from lbkit.tls import ClientTls, NameRoutes, ReadFile, Termination, read_file

__all__ = ["ADMIN", "Runtime", "Secrets", "relay_of"]

logger = logging.getLogger("lbkit")

ADMIN = "admin"
"""What the administration endpoint is called among the listeners."""
# What must not be in the name that a proxy goes by in Via (RFC 9110 §5.6.2); a listener may have any name.
_NO_TOKEN = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]")


@dataclass(slots=True)
class Secrets:
    """The certificates and keys of a configuration, read and found good: by listener and by pool."""

    listeners: dict[str, Termination] = field(default_factory=dict)
    pools: dict[str, ClientTls] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, read: ReadFile = read_file) -> Secrets:
        """Raises ConfigError with every problem. What soon runs out is said in the log."""
        secrets, problems = cls(), list[str]()
        for name, item in config.listeners.items():
            if item.tls is not None:
                try:
                    where = f"{key_path('listeners', name)}.tls"
                    secrets.listeners[name] = Termination(item.tls, where, mode=item.mode, read=read)
                except ConfigError as error:
                    problems += error.problems
        for name, pool in config.pools.items():
            if pool.tls is not None:
                try:
                    secrets.pools[name] = ClientTls(pool.tls, f"{key_path('pools', name)}.tls", read)
                except ConfigError as error:
                    problems += error.problems
        if problems:
            raise ConfigError(problems)
        return secrets

    def warn(self) -> None:
        """Say in the log what runs out soon."""
        now = datetime.now(UTC)
        for termination in self.listeners.values():
            for line in termination.warnings(now):
                logger.warning("%s", line)


@dataclass(slots=True)
class _Plan:
    """Everything of a reload that could fail, already made."""

    secrets: Secrets
    pools: dict[str, Pool]
    relays: dict[str, type[Relay]]
    web: dict[str, Prepared]
    """By listener: what routes without a pool lead to."""
    logs: dict[str, AccessLog]
    """Opened anew at each reload, so that a log that was moved away is begun again."""
    bound: dict[str, Listener]
    first_results: dict[str, FirstResults]
    """By pool: what the first checks of new servers said."""
    failovers: dict[str, Failover]
    """By database; none where another process watches them."""

    def undo(self) -> None:
        """Close what was opened for it."""
        for listener in self.bound.values():
            listener.stop()
        for log in self.logs.values():
            log.close()


class Runtime:
    """What one configuration runs.

    ``async with Runtime(config)`` starts and closes it; meanwhile `reload`, and before the end `drain`. It is
    one process, whatever the configuration says of workers; with *part* it is one of several.
    """

    def __init__(self, config: Config, part: Part | None = None) -> None:
        self._config = config
        self._part = part or Part()
        self._loop = asyncio.get_running_loop()
        self._ticker = Ticker(self._loop)
        self._resources = Resources(self._loop)
        self._pools: dict[str, RunningPool] = {}
        self._listeners: dict[str, RunningListener] = {}
        self._retired: set[Service] = set()
        self._databases = Databases()
        self._endings: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._control = PoolControl(lambda: self._pools, self._forget, self._part.changed)
        self._is_stopping = False
        self.reloads = 0
        self.failed_reloads = 0

    async def __aenter__(self) -> Runtime:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def drain_timeout(self) -> float:
        """Seconds that sessions may take to end."""
        return self._config.global_.drain_timeout

    @property
    def open_sessions(self) -> int:
        """Sessions open now on all listeners, those already stopped too."""
        return sum(service.open_sessions for service in self._services())

    @property
    def addresses(self) -> Mapping[str, Address]:
        """The real address of each listener; the administration endpoint is ``admin``."""
        return {name: running.listener.address for name, running in self._listeners.items()}

    def pool(self, name: str) -> Pool:
        """The pool called *name*; KeyError where there is none."""
        return self._pools[name].pool

    @property
    def pools(self) -> list[Pool]:
        """All of them."""
        return [running.pool for running in self._pools.values()]

    async def start(self) -> None:
        """Bind, check every server once, accept: for every few hundred servers at most a check's timeout.

        Raises StartFailed or ConfigError with nothing left open.
        """
        async with self._changing:
            try:
                plan = await self._prepare(self._config)
            except BaseException:
                self._resources.close()
                raise
            self._apply(self._config, plan)
        if not self._part.announces:
            return
        for name, running in self._listeners.items():
            logger.info("%s listens on %s (%s)", name, running.listener.address, leads_to(running.config))

    async def reload(self, config: Config) -> None:
        """Change to *config* without cutting a session, after new servers were checked once.

        Raises ConfigError or StartFailed, and then nothing has changed. While it stops nothing changes.
        """
        async with self._changing:
            plan = await self._prepare(config)
            if self._is_stopping:
                plan.undo()
                logger.info("not reloaded: stopping")
                return
            self._apply(config, plan)
        self.reloads += 1
        if self._part.announces:
            logger.info("reloaded: %d listeners, %d pools", len(config.listeners), len(config.pools))

    async def drain(self) -> bool:
        """Stop accepting and let sessions end, at most `drain_timeout`; False when some had to be cut."""
        self._is_stopping = True
        if self._part.announces:
            sessions, seconds = self.open_sessions, self.drain_timeout
            logger.info("stopping: %d sessions may end within %g s", sessions, seconds)
        for running in self._listeners.values():
            running.listener.stop()
        services = self._services()
        ended = await asyncio.gather(*(service.drain(self.drain_timeout) for service in services))
        return all(ended)

    async def close(self) -> None:
        """Stop everything now. Nothing is open and no task runs afterwards."""
        self._is_stopping = True
        for running in self._listeners.values():
            running.listener.stop()
        for service in self._services():
            await service.close()
        for running in self._listeners.values():
            for forwarder in running.forwarders.values():
                forwarder.close()
            if running.access_log is not None:
                running.access_log.close()
        for pool in self._pools.values():
            for prober in pool.probers():
                await prober.stop()
        await self._databases.stop()
        for task in self._endings:
            task.cancel()
        await asyncio.gather(*self._endings, return_exceptions=True)
        self._ticker.close()
        self._resources.close()
        self._listeners.clear()
        self._pools.clear()

    # ------------------------------------------------------------ what other processes say

    def known(self) -> dict[str, list[Known]]:
        """By pool: all that is known of its servers."""
        now = self._loop.time()
        return {name: running.pool.known(now) for name, running in self._pools.items()}

    def learn(self, pool: str, known: Sequence[Known]) -> None:
        """Another process changed *pool*; no effect where it is not here."""
        running = self._pools.get(pool)
        if running is not None:
            for server in running.learn(known):
                self._forget(server)

    def hear(self, results: Iterable[Result], share: Share) -> None:
        """Another process checked servers."""
        by_pool: dict[str, list[Result]] = {}
        for result in results:
            by_pool.setdefault(result.pool, []).append(result)
        for name, of_pool in by_pool.items():
            if name in self._pools:
                self._pools[name].hear(of_pool, share)

    def hurry(self, pool: str, server: str) -> None:
        """Another process has errors with *server*."""
        if pool in self._pools:
            self._pools[pool].hurry(server)

    def _cut(self, server: Server) -> None:
        """*server* went down, and its pool is one whose sessions end with that."""
        for service in self._services():
            if isinstance(service, TcpService):
                service.cut(server)

    def _services(self) -> list[Service]:
        return [*(running.service for running in self._listeners.values()), *self._retired]

    # ------------------------------------------------------------ step one: all that can fail

    async def _prepare(self, config: Config) -> _Plan:
        secrets = Secrets.of(config, self._part.read)
        if self._part.announces:
            secrets.warn()
        relays = {
            name: relay_of(name, item, config)
            for name, item in config.listeners.items()
            if item.mode == "tcp"
        }
        web = {name: prepare(name, item) for name, item in config.listeners.items() if item.mode == "http"}
        seed = config.global_.seed
        pools = {name: self._known_or_new(name, item, seed) for name, item in config.pools.items()}
        failovers = make_failovers(config.mysql) if self._part.checks else {}
        plan = _Plan(secrets, pools, relays, web, {}, {}, {}, failovers)
        try:
            self._open_logs(config, plan)
            self._bind_new(config, plan.bound)
            if self._part.checks:
                plan.first_results |= await first_results(dict(config.pools), self._pools, secrets.pools)
        except BaseException:
            plan.undo()
            raise
        return plan

    def _open_logs(self, config: Config, plan: _Plan) -> None:
        for name, item in config.listeners.items():
            if item.access_log is not None:
                plan.logs[name] = AccessLog(
                    item.access_log,
                    name,
                    self._ticker,
                    self._loop.time,
                    format=item.access_log_format,
                    client_of=plan.web[name].client_of,
                )

    def _known_or_new(self, name: str, config: PoolConfig, seed: int | None) -> Pool:
        running = self._pools.get(name)
        return make_pool(name, config, seed, self._loop.time()) if running is None else running.pool

    def _bind_new(self, config: Config, bound: dict[str, Listener]) -> None:
        """A bound listener for each address that nobody here listens on yet."""
        for name, item in _listening(config).items():
            if self._at(name, item.listen) is None:
                listener = Listener(
                    name, item.listen, lambda sock, origin=None: sock.close(), loop=self._loop
                )
                self._part.bind(listener)
                bound[name] = listener

    def _at(self, name: str, address: Address) -> RunningListener | None:
        """Who listens on *address* now: found by address, and by name where any port would do."""
        if address.path or address.port:
            return next((r for r in self._listeners.values() if r.wanted == address), None)
        running = self._listeners.get(name)
        return running if running is not None and running.wanted == address else None

    # ------------------------------------------------------------ step two: nothing fails any more

    def _apply(self, config: Config, plan: _Plan) -> None:
        self._config = config
        removed = self._apply_pools(config, plan)
        if self._part.checks:
            self._databases.change(config.mysql, plan.failovers)
        old = dict(self._listeners)
        self._listeners = {
            name: self._apply_listener(name, item, plan, self._at(name, item.listen))
            for name, item in _listening(config).items()
        }
        staying = {id(running.listener) for running in self._listeners.values()}
        for running in old.values():
            if id(running.listener) not in staying:
                running.listener.stop()
                self._retire(running.service, running.forwarders, running.access_log)
        for server in removed:
            self._forget(server)

    def _forget(self, server: Server) -> None:
        """Close connections that are kept for a server that has left."""
        for running in self._listeners.values():
            for forwarder in running.forwarders.values():
                forwarder.forget(server)

    def _apply_pools(self, config: Config, plan: _Plan) -> list[Server]:
        """Change pools in place; the servers that left."""
        before = {server for running in self._pools.values() for server in running.pool}
        old, self._pools = self._pools, {}
        for name, item in config.pools.items():
            running = old.pop(name, None)
            tls = plan.secrets.pools.get(name)
            if running is None:
                running = RunningPool(item, plan.pools[name], config.global_.seed, self._part, tls, self._cut)
            else:
                self._end(running.change(item, tls))
            self._pools[name] = running
            if known := self._part.known(name):
                running.learn(known)
        for name, results in plan.first_results.items():
            self._pools[name].take(results)
        for running in old.values():
            self._end(running.probers())
        return list(before - {server for running in self._pools.values() for server in running.pool})

    def _apply_listener(
        self, name: str, config: ListenerConfig | AdminConfig, plan: _Plan, running: RunningListener | None
    ) -> RunningListener:
        listener = plan.bound[name] if running is None else running.listener
        listener.name = name
        forwarders = {} if running is None else dict(running.forwarders)
        service = None if running is None else running.service
        edge = (running and running.edge) or Edge(listener, self._loop, self._ticker)
        if isinstance(config, ListenerConfig):
            edge.change(config)
        wanted = config.listen
        if isinstance(config, ListenerConfig) and config.mode == "tcp":
            new: Service = self._tcp_service(service, config, plan.relays[name], listener)
        else:
            handler = self._handler(name, config, plan, forwarders)
            settings = _http_settings(config)
            if name in plan.web:
                settings = replace(settings, error_pages=plan.web[name].error_pages)
            reader = plan.web[name].client_of if name in plan.web else None
            new = self._http_service(service, edge.guarded(handler, reader), settings, listener)
            if isinstance(config, ListenerConfig):
                new.max_securing = config.max_connecting
        new.tls = plan.secrets.listeners.get(name)
        log = plan.logs.get(name)
        if isinstance(new, HttpService):
            new.http.access_log = log
        if running is not None and new is not running.service:
            self._retire(running.service, {}, running.access_log)
        elif running is not None and running.access_log is not None:
            running.access_log.close()
        listener.refuses = isinstance(config, ListenerConfig) and config.when_full == "refuse"
        listener.max_connections = config.max_connections if isinstance(config, ListenerConfig) else 1000
        listener.accept = new.accept
        if running is None:
            listener.start()
        return RunningListener(wanted, config, listener, new, forwarders, log, edge)

    def _tcp_service(
        self, service: Service | None, config: ListenerConfig, relay: type[Relay], listener: Listener
    ) -> TcpService:
        pool = None if config.pool is None else self._pools[config.pool].pool
        timeouts = config.timeouts
        settings = TcpSettings(
            timeouts.connect,
            timeouts.client_in("tcp"),
            timeouts.server_in("tcp"),
            timeouts.queue,
            timeouts.tunnel or 0.0,
            config.max_connecting,
            timeouts.request_head,
        )
        if isinstance(service, TcpService):
            service.name, service.pool, service.relay, service.settings = listener.name, pool, relay, settings
        else:
            service = TcpService(
                listener.name,
                pool,
                relay,
                settings,
                resources=self._resources,
                ticker=self._ticker,
                on_end=listener.session_ended,
                hold=listener.hold,
            )
        names = [
            (route.sni, self._pools[route.pool].pool) for route in config.routes if route.sni and route.pool
        ]
        service.names = NameRoutes(names) if names else None
        service.server_tls = {
            running.pool: running.tls for running in self._pools.values() if running.tls is not None
        }
        return service

    def _http_service(
        self, service: Service | None, handler: Handler, settings: HttpSettings, listener: Listener
    ) -> HttpService:
        if isinstance(service, HttpService):
            service.http.handler, service.http.settings = handler, settings
            return service
        return HttpService(
            HttpServer(handler, settings),
            loop=self._loop,
            on_end=listener.session_ended,
            hold=listener.hold,
        )

    def _handler(
        self,
        name: str,
        config: ListenerConfig | AdminConfig,
        plan: _Plan,
        forwarders: dict[str, Forwarder],
    ) -> Handler:
        """What answers on an http listener; *forwarders* are reused and brought up to date."""
        if isinstance(config, AdminConfig):
            return AsgiHandler(AdminApp(self.view, __version__, self._control), {})
        wanted = {route.pool for route in config.routes if route.pool} | (
            {config.pool} if config.pool else set()
        )
        for pool in forwarders.keys() - wanted:
            forwarders.pop(pool).close()
        for pool in wanted:
            self._forwarder(name, pool, config, plan.web[name].trusted, forwarders)
        return route_handler(config, plan.web[name], forwarders)

    def _forwarder(
        self,
        name: str,
        pool: str,
        config: ListenerConfig,
        trusted: Trusted,
        forwarders: dict[str, Forwarder],
    ) -> None:
        timeouts, wanted = config.timeouts, self._pools[pool].config
        settings = replace(
            ForwardSettings(),
            connect=timeouts.connect,
            server=timeouts.server_in("http") or math.inf,
            queue=timeouts.queue,
            request=timeouts.request,
            deadline_field=deadline_field(config),
            key=wanted.key,
            sticky_cookie=wanted.sticky_cookie,
            upgrades=frozenset(name.lower().encode() for name in config.upgrades),
            tunnel=timeouts.upgraded or math.inf,
            trusted=trusted,
            forwarded=config.forwarded,
        )
        target, tls = self._pools[pool].pool, self._pools[pool].tls
        known = forwarders.get(pool)
        pseudonym = _NO_TOKEN.sub("_", name)
        if known is not None and known.pool is target and known.name == pseudonym:
            known.settings, known.tls = settings, tls
            return
        if known is not None:
            known.close()
        forwarders[pool] = made = Forwarder(
            target, pseudonym, settings, ticker=self._ticker, clock=self._loop.time
        )
        made.tls = tls

    def _retire(self, service: Service, forwarders: Mapping[str, Forwarder], log: AccessLog | None) -> None:
        """A service that gets no more sessions: it is kept until its last one has ended."""

        async def until_idle() -> None:
            try:
                await service.drain(None)
            finally:
                self._retired.discard(service)
                for forwarder in forwarders.values():
                    forwarder.close()
                if log is not None:
                    log.close()

        self._retired.add(service)
        self._in_background(until_idle())

    def _end(self, probers: Iterable[Prober]) -> None:
        for prober in probers:
            self._in_background(prober.stop())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    # ------------------------------------------------------------ what the administration shows

    def view(self) -> View:
        """Everything at this moment."""
        now = self._loop.time()
        for running in self._pools.values():
            if now >= running.pool.next_deadline():
                running.pool.advance(now)  # where there are no sessions nobody else does
        view = View(
            now=now,
            listeners=[view_of(name, running) for name, running in self._listeners.items()],
            pools=self.pools,
            unsettled=[
                item
                for service in self._services()
                if isinstance(service, TcpService)
                for item in service.unsettled_bytes()
            ],
            reloads=self.reloads,
            failed_reloads=self.failed_reloads,
            databases=self._databases.status(),
        )
        return self._part.shown(view)


def relay_of(name: str, config: ListenerConfig, whole: Config) -> type[Relay]:
    """The data path of a tcp listener. Raises ConfigError where it cannot be used here."""
    pool = whole.pools.get(config.pool or "")
    opens_tls = config.tls is not None or (pool is not None and pool.tls is not None)
    try:
        return choose_relay(config.relay, opens_tls=opens_tls)
    except ValueError as error:
        raise ConfigError(f"listeners.{name}.relay: {error}") from None


def _close(client: socket.socket, origin: Origin | None = None) -> None:
    """Where sockets go before a listener has its service; nothing is accepted so early."""
    client.close()


def _listening(config: Config) -> dict[str, ListenerConfig | AdminConfig]:
    """Everything that has an address, by name."""
    listening: dict[str, ListenerConfig | AdminConfig] = dict(config.listeners)
    if config.admin is not None:
        listening[ADMIN] = config.admin
    return listening


def _http_settings(config: ListenerConfig | AdminConfig) -> HttpSettings:
    if isinstance(config, AdminConfig):
        return HttpSettings()
    timeouts = config.timeouts
    return replace(
        HttpSettings(),
        request_head=timeouts.request_head or math.inf,
        keep_alive=timeouts.keep_alive or math.inf,
        client=timeouts.client_in("http") or math.inf,
        hsts=b"max-age=%d" % config.tls.hsts if config.tls is not None and config.tls.hsts else b"",
    )

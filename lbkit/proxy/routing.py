"""`RouteHandler`: the handler that chooses a handler by host, path, method and header fields."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lbkit.errors import ClientError
from lbkit.exchange import Exchange, Handler, HttpProtocol, Work
from lbkit.http.routes import RouteTable
from lbkit.proxy.express import Express
from lbkit.proxy.forward import Forwarder
from lbkit.static import StaticFiles
from lbkit.static.known_files import KnownFiles

__all__ = ["RouteHandler"]


class RouteHandler:
    """Gives each exchange to the handler of the first route that matches, else to *default*."""

    def __init__(
        self,
        table: RouteTable[Handler],
        default: Handler | None = None,
        mark: Callable[[Exchange], None] | None = None,
    ) -> None:
        """*mark*, where given, is told of each exchange first; then none goes express."""
        self._table = table
        self._default = default
        self._mark = mark
        self._known: KnownFiles | None = None
        self.express: Callable[[HttpProtocol, bytes], bool] | None = None
        if mark is None:
            only = default if isinstance(default, Forwarder) and not table.routes else None
            self._forwards = self.express = Express(self._forwarder_for, only)
            if any(isinstance(route.target, StaticFiles) for route in table.routes):
                self._known = KnownFiles()
                self.express = self._answer_known

    def _answer_known(self, wire: HttpProtocol, data: bytes) -> bool:
        assert self._known is not None
        return self._known.answer(wire, data) or self._forwards(wire, data)

    def _forwarder_for(self, host: bytes, path: bytes) -> Forwarder | None:
        """Who forwards a request; None where anybody else answers it, or more has to be known to say who."""
        handler = self._default
        if self._table.routes:
            route = self._table.place(host.decode("latin-1"), path)
            if route is not None:
                if route.needs_more:
                    return None
                handler = route.target
        return handler if isinstance(handler, Forwarder) else None

    def begin(self, exchange: Exchange) -> Work | None:
        """See `PromptHandler.begin`."""
        handler = self._choose(exchange)
        begin: Callable[[Exchange], Work | None] | None = getattr(handler, "begin", None)
        if begin is None:
            return partial(handler, exchange)
        work = begin(exchange)
        if work is None and self._known is not None and isinstance(handler, StaticFiles):
            route = self._table.place(exchange.request.host, exchange.request.path)
            by_host = route is None or (not route.needs_more and route.target is handler)
            self._known.learn(exchange, handler, by_host=by_host)
        return work

    def _choose(self, exchange: Exchange) -> Handler:
        """Raises ClientError (404) when no route is there for it."""
        if self._mark is not None:
            self._mark(exchange)
        handler = self._default
        if self._table.routes:
            request = exchange.request
            handler = (
                self._table.match(request.host, request.path, request.method, request.headers) or handler
            )
        if handler is None:
            raise ClientError("no route for this request", 404)
        return handler

    async def __call__(self, exchange: Exchange) -> None:
        """Raises ClientError (404) when no route is there for it."""
        await self._choose(exchange)(exchange)

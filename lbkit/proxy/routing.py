"""`RouteHandler`: the handler that chooses a handler by host and path."""

from __future__ import annotations

from lbkit.errors import ClientError
from lbkit.exchange import Exchange, Handler
from lbkit.http.routes import RouteTable

__all__ = ["RouteHandler"]


class RouteHandler:
    """Gives each exchange to the handler of the first route that matches, else to *default*."""

    def __init__(self, table: RouteTable[Handler], default: Handler | None = None) -> None:
        self._table = table
        self._default = default

    async def __call__(self, exchange: Exchange) -> None:
        """Raises ClientError (404) when nothing is there for the host and path."""
        handler = self._table.match(exchange.request.host, exchange.request.path) or self._default
        if handler is None:
            raise ClientError("no route for this host and path", 404)
        await handler(exchange)

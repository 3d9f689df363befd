"""Handlers that answer by themselves: redirects, fixed answers, and nothing at all."""

from __future__ import annotations

from lbkit.errors import ClientError
from lbkit.exchange import Exchange
from lbkit.http.facts import facts_of
from lbkit.http.messages import Headers
from lbkit.proxy.clients import ClientReader
from lbkit.templates import Template

__all__ = ["FixedAnswer", "Redirect", "not_found"]


class Redirect:
    """Sends clients elsewhere."""

    def __init__(self, status: int, to: Template, client_of: ClientReader | None = None) -> None:
        """*client_of* tells what ``${client}`` is."""
        self._status = status
        self._to = to
        self._client_of = client_of or ClientReader()

    async def __call__(self, exchange: Exchange) -> None:
        """Raises ClientError (400) where the place depends on a host and the client named none."""
        request_id = b"" if exchange.changes is None else exchange.changes.request_id
        facts = facts_of(exchange.request, exchange.scheme, self._client_of(exchange), request_id)
        if not facts["host"] and self._to.names & {"host", "authority"}:
            raise ClientError("a redirect needs to know the host")
        await exchange.respond(self._status, [(b"Location", self._to.render(facts))])


class FixedAnswer:
    """Gives everybody the same answer."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self._status = status
        self._headers = headers
        self._body = body

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.respond(self._status, self._headers, self._body)


async def not_found(exchange: Exchange) -> None:
    """Raises ClientError (404)."""
    raise ClientError("no route for this request", 404)

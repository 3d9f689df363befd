"""`Rewritten`: a handler whose requests and answers are changed on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lbkit.exchange import Exchange, Handler, Work
from lbkit.http.facts import facts_of
from lbkit.http.rewriting import Changes, Rewriting
from lbkit.proxy.clients import ClientReader

__all__ = ["Rewritten"]


class Rewritten:
    """Gives each exchange to *handler*, to be changed by *rules*.

    Where the exchange has `Changes` already (of the listener: request id, trace) the rules are added to them.
    """

    def __init__(self, handler: Handler, rules: Rewriting, client_of: ClientReader | None = None) -> None:
        """*client_of* tells what ``${client}`` is."""
        self._handler = handler
        self._client_of = client_of or ClientReader()
        self._rules = rules
        self._begin: Callable[[Exchange], Work | None] | None = getattr(handler, "begin", None)

    def begin(self, exchange: Exchange) -> Work | None:
        """See `PromptHandler.begin`. Raises ClientError (400) for a path that cannot be rewritten."""
        self._change(exchange)
        return partial(self._handler, exchange) if self._begin is None else self._begin(exchange)

    async def __call__(self, exchange: Exchange) -> None:
        """Raises ClientError (400) for a path that cannot be rewritten."""
        self._change(exchange)
        await self._handler(exchange)

    def _change(self, exchange: Exchange) -> None:
        request, changes = exchange.request, exchange.changes
        if changes is None:
            changes = exchange.changes = Changes(b"")
        changes.facts = facts_of(request, exchange.scheme, self._client_of(exchange), changes.request_id)
        changes.rules = self._rules
        changes.target = self._rules.target(request.target)

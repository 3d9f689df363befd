"""`Rewritten`: a handler whose requests and answers are changed on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lbkit.exchange import Exchange, Handler, Work
from lbkit.http.facts import facts_of
from lbkit.http.rewriting import Changes, Rewriting

__all__ = ["Rewritten"]


class Rewritten:
    """Gives each exchange to *handler*, to be changed by *rules*.

    Where the exchange has `Changes` already (of the listener: request id, trace) the rules are added to them.
    """

    def __init__(self, handler: Handler, rules: Rewriting) -> None:
        self._handler = handler
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
            neighbour = exchange.client[0] if exchange.client else ""
            changes = exchange.changes = Changes(b"")
            changes.facts = facts_of(request, exchange.scheme, neighbour, b"")
        changes.rules = self._rules
        changes.target = self._rules.target(request.target)

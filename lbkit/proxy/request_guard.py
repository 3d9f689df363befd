"""`RequestGuard`: the handler that shows each request to the firewall before another handler gets it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from lbkit.exchange import Exchange, Handler, Work
from lbkit.firewall import Denial, Firewall, Refusal, place_of
from lbkit.http.messages import Headers
from lbkit.proxy.clients import ClientReader

__all__ = ["RequestGuard"]

_REASONS = {
    Denial.BAN: "denied: banned",
    Denial.REQUEST_RATE: "denied: request rate",
    Denial.RULE: "denied: a rule of the firewall",
}


class RequestGuard:
    """Answers what *firewall* refuses, with Retry-After where waiting helps, and gives the rest to *handler*.

    The client is the one that a trusted neighbour tells, else the neighbour: a web server behind a balancer
    limits its clients and not the balancer.
    """

    def __init__(
        self,
        firewall: Firewall,
        handler: Handler,
        *,
        clock: Callable[[], float],
        client_of: ClientReader | None = None,
    ) -> None:
        self._firewall = firewall
        self._handler = handler
        self._begin: Callable[[Exchange], Work | None] | None = getattr(handler, "begin", None)
        self._clock = clock
        self._client_of = client_of or ClientReader()

    def begin(self, exchange: Exchange) -> Work | None:
        """See `PromptHandler.begin`."""
        refusal = self._judge(exchange)
        if refusal is not None:
            return partial(self._refuse, exchange, refusal)
        return partial(self._handler, exchange) if self._begin is None else self._begin(exchange)

    async def __call__(self, exchange: Exchange) -> None:
        refusal = self._judge(exchange)
        if refusal is None:
            await self._handler(exchange)
        else:
            await self._refuse(exchange, refusal)

    def _judge(self, exchange: Exchange) -> Refusal | None:
        request = exchange.request
        return self._firewall.judge_request(
            self._place_of(exchange), request.method, request.path, request.headers, self._clock()
        )

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        headers: Headers = []
        if refusal.retry_after:
            headers.append((b"Retry-After", b"%d" % math.ceil(refusal.retry_after)))
        if exchange.trail is not None:
            exchange.trail.end = _REASONS[refusal.reason]
        await exchange.respond_error(refusal.status, headers)

    def _place_of(self, exchange: Exchange) -> int | None:
        client = self._client_of(exchange)
        return place_of(client) if client else None

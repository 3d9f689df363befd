"""`Marking`: each request gets an id and a place in a trace, which servers, clients and logs are told."""

from __future__ import annotations

import random
import re
from collections.abc import Container

from lbkit.exchange import Exchange
from lbkit.http.forwarded import LOOPBACK
from lbkit.http.messages import Request, get_all
from lbkit.http.rewriting import Changes
from lbkit.http.tracing import begin_trace, parse_traceparent, valid_tracestate

__all__ = ["Marking"]

# What a log can hold as it is, and no more of it than any known system makes.
_ID = re.compile(rb"[0-9A-Za-z._~+/=:@-]{1,128}")


class Marking:
    """Marks an exchange before any handler gets it.

    The id is the one in the field *request_id* where a trusted neighbour sent a good one, else 128 random
    bits. With *tracing* the server gets a `traceparent` whose parent is this hop; see `lbkit.http.tracing`.
    """

    def __init__(
        self,
        request_id: str,
        *,
        tracing: bool,
        rng: random.Random,
        trusted: Container[str] = LOOPBACK,
    ) -> None:
        """*request_id* is the name of a field; "" for no ids."""
        self._field = request_id.encode()
        self._name = self._field.lower()
        self._tracing = tracing
        self._rng = rng
        self._trusted = trusted

    def __call__(self, exchange: Exchange) -> None:
        request = exchange.request
        changes = exchange.changes = Changes(request.target.origin_form)
        if self._field:
            given = get_all(request.headers, self._name)
            neighbour = exchange.client[0] if exchange.client else ""
            if len(given) == 1 and neighbour in self._trusted and _ID.fullmatch(given[0]):
                changes.request_id = given[0]
            else:
                changes.request_id = b"%032x" % self._rng.getrandbits(128)
            own = (self._field, changes.request_id)
            changes.to_server.append(own)
            changes.to_client.append(own)
        if self._tracing:
            self._trace(request, changes)

    def _trace(self, request: Request, changes: Changes) -> None:
        before = parse_traceparent(get_all(request.headers, b"traceparent"))
        here = begin_trace(self._rng) if before is None else before.child(self._rng)
        changes.trace = here.trace
        changes.to_server.append((b"traceparent", bytes(here)))
        state = b"" if before is None else valid_tracestate(get_all(request.headers, b"tracestate"))
        if state:
            changes.to_server.append((b"tracestate", state))
        else:
            changes.hidden.add(b"tracestate")

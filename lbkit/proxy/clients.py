"""Who the client of an exchange is: as trusted neighbours tell, else the neighbour itself."""

from __future__ import annotations

from collections.abc import Container

from lbkit.exchange import Exchange
from lbkit.http.forwarded import LOOPBACK, Form, Hop, client_of

__all__ = ["ClientReader"]


class ClientReader:
    """Gives the client's IP address, "" where nobody knows it (a Unix socket).

    Only neighbours in *trusted* are believed, and they only by the fields that *form* is of: the others a
    client may have put there itself.
    """

    def __init__(self, trusted: Container[str] = LOOPBACK, form: Form = "x-forwarded") -> None:
        self._trusted = trusted
        self._form = form

    def __call__(self, exchange: Exchange) -> str:
        neighbour = exchange.client[0] if exchange.client else ""
        if neighbour not in self._trusted:
            return neighbour
        hop = Hop(neighbour, exchange.scheme)
        return client_of(exchange.request.headers, hop, self._trusted, self._form) or neighbour

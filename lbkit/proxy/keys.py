"""What hashing algorithms go by, read from a request: `key_reader` makes the function for one source."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias

from lbkit.config.values import KeySource
from lbkit.exchange import Exchange
from lbkit.http.forwarded import Hop, client_of
from lbkit.http.messages import Headers, get, get_all
from lbkit.http.targets import parameter_of

__all__ = ["KeyReader", "cookie_of", "key_reader"]

KeyReader: TypeAlias = "Callable[[Exchange], bytes | None]"


def key_reader(source: KeySource, trusted: Collection[str]) -> KeyReader:
    """The function that reads *source* from a request; it gives None where the request lacks it.

    The client's address is the one that *trusted* neighbours tell, else the neighbour's own.
    """
    name = source.name.encode("utf-8", "surrogateescape")

    def client(exchange: Exchange) -> bytes | None:
        neighbour = exchange.client[0] if exchange.client else ""
        hop = Hop(neighbour, exchange.scheme)
        return (client_of(exchange.request.headers, hop, trusted) or neighbour).encode() or None

    readers: dict[str, KeyReader] = {
        "client": client,
        "path": lambda exchange: exchange.request.target.origin_form.partition(b"?")[0],
        "header": lambda exchange: get(exchange.request.headers, name),
        "cookie": lambda exchange: cookie_of(exchange.request.headers, name),
        "query": lambda exchange: parameter_of(exchange.request.target.origin_form, name),
    }
    return readers[source.kind]


def cookie_of(headers: Headers, name: bytes) -> bytes | None:
    """The value of the first cookie called *name* (RFC 6265 §5.4); None where there is none."""
    for line in get_all(headers, b"cookie"):
        for pair in line.split(b";"):
            key, equals, value = pair.strip().partition(b"=")
            if equals and key == name:
                return value.strip(b'"')
    return None

"""What hashing algorithms go by, read from a request: `key_reader` makes the function for one source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from lbkit.config.values import KeySource
from lbkit.exchange import Exchange
from lbkit.http.messages import Headers, get, get_all
from lbkit.http.targets import parameter_of
from lbkit.proxy.clients import ClientReader

__all__ = ["KeyReader", "cookie_of", "key_reader"]

KeyReader: TypeAlias = "Callable[[Exchange], bytes | None]"


def key_reader(source: KeySource, client_of: ClientReader) -> KeyReader:
    """The function that reads *source* from a request; it gives None where the request lacks it."""
    name = source.name.encode("utf-8", "surrogateescape")

    readers: dict[str, KeyReader] = {
        "client": lambda exchange: client_of(exchange).encode() or None,
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

"""Trailers (RFC 9110 §6.5): which of them go on from a server to a client.

They go to a client that said so by ``TE: trailers``, over HTTP/1.1 in the chunked coding, or over HTTP/2; for
all others they are dropped, as RFC 9110 §6.5.1 lets a recipient do. Those of requests are always dropped: a
server has no way to say that it takes them, and some put them among the header fields, where they would have
passed by every check and rule.
"""

from __future__ import annotations

from lbkit.http.hop_by_hop import HOP_BY_HOP
from lbkit.http.messages import Headers, Request, tokens
from lbkit.http.plain import Trait

__all__ = ["passable", "takes_trailers"]

_TE = int(Trait.TE)
# RFC 9110 §6.5.1: framing, routing, authentication, request modifiers, and what says how to read the content.
_FORBIDDEN = HOP_BY_HOP | {
    b"age",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-length",
    b"content-location",
    b"content-range",
    b"content-type",
    b"cookie",
    b"date",
    b"expires",
    b"host",
    b"location",
    b"retry-after",
    b"set-cookie",
    b"vary",
    b"warning",
    b"www-authenticate",
}


def takes_trailers(request: Request) -> bool:
    """Whether the client of *request* said that it does."""
    if request.plain is not None and not request.plain.traits & _TE:
        return False
    return request.version != "1.0" and b"trailers" in tokens(request.headers, b"te")


def passable(trailers: Headers) -> Headers:
    """Those of *trailers* that may be trailers."""
    return [(name, value) for name, value in trailers if name.lower() not in _FORBIDDEN]

"""Fields that are meant for one connection only and are not sent on (RFC 9110 §7.6.1)."""

from __future__ import annotations

from lbkit.http.forwarded import IDENTITY
from lbkit.http.messages import Headers, tokens, without

__all__ = ["HOP_BY_HOP", "end_to_end"]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

# Listing one of these in Connection would let a client take away what the next server relies on.
_NEVER_DROPPED = frozenset(
    {
        b"content-length",
        b"forwarded",
        b"host",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    }
).union(IDENTITY)


def end_to_end(headers: Headers) -> Headers:
    """*headers* less the hop-by-hop fields and those that Connection lists."""
    listed = tokens(headers, b"connection")
    if not listed:
        return without(headers, HOP_BY_HOP)
    return without(headers, HOP_BY_HOP.union(listed) - _NEVER_DROPPED)

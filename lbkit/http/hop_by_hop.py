"""Fields that are meant for one connection only and are not sent on (RFC 9110 §7.6.1)."""

from __future__ import annotations

from lbkit.http.forwarded import IDENTITY
from lbkit.http.messages import Headers, get, tokens, without

__all__ = ["COUNTED", "HOP_BY_HOP", "end_to_end", "hops_left", "one_hop_on"]

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

COUNTED = frozenset({"OPTIONS", "TRACE"})
"""Methods whose Max-Forwards every proxy counts down (RFC 9110 §7.6.2)."""

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


def hops_left(headers: Headers) -> int | None:
    """How many times a request of a `COUNTED` method may still be sent on; None where it does not say."""
    value = get(headers, b"max-forwards")
    return int(value) if value is not None and value.isdigit() and len(value) < 10 else None


def one_hop_on(headers: Headers) -> Headers:
    """*headers* of a request of a `COUNTED` method as they are sent on."""
    left = hops_left(headers)
    if left is None:
        return headers
    return [*without(headers, {b"max-forwards"}), (b"Max-Forwards", b"%d" % (left - 1))]

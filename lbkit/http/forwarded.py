"""What a proxy tells the next server about the client: X-Forwarded-*, Via; and how that is read.

A claim about the client counts only when it comes from a trusted neighbour: else anybody could choose
the address that logs and limits see. Untrusted claims are replaced, trusted ones extended.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from lbkit.http.messages import Headers, get, get_all, without

__all__ = ["IDENTITY", "LOOPBACK", "Hop", "client_of", "forwarded_headers", "identified", "scheme_of"]

LOOPBACK = frozenset({"127.0.0.1", "::1", ""})
"""Neighbours that are trusted by default (as uvicorn's forwarded-allow-ips); "" is a Unix socket."""

_CLAIMS = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"via"})
IDENTITY = frozenset(
    {b"x-client-certificate-verify", b"x-client-certificate-subject", b"x-client-certificate-fingerprint"}
)
"""What a proxy that asks clients for a certificate says of it."""
_UNTRUSTED = _CLAIMS | {b"forwarded"}
_ANONYMOUS = _UNTRUSTED | IDENTITY
# Applications that get fields as CGI variables cannot tell X_Forwarded_For from X-Forwarded-For.
_IMITATIONS = frozenset(
    name.replace(b"-", b"_")
    for name in (*IDENTITY, b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
)


@dataclass(frozen=True, slots=True)
class Hop:
    """The connection on which a request came: the neighbour's IP address ("" for a Unix socket)."""

    ip: str
    scheme: str
    version: str = "1.1"
    is_identified: bool = False
    """Whether the `IDENTITY` fields are of this proxy itself."""


def forwarded_headers(headers: Headers, hop: Hop, pseudonym: str, trusted: Collection[str]) -> Headers:
    """*headers* with X-Forwarded-For, -Proto, -Host and Via for the next server.

    `Via` gets ``<version> <pseudonym>`` appended (RFC 9110 §7.6.3), which may name a whole path of
    proxies, so it is kept also from untrusted clients; the X- fields of those are dropped, and their
    Forwarded (RFC 7239), which makes the same claims. Nobody's spelling with ``_`` for ``-`` passes.
    """
    known = headers if hop.ip in trusted else without(headers, {b"x-forwarded-for"})
    chain = [*get_all(known, b"x-forwarded-for"), *([hop.ip.encode("ascii")] if hop.ip else [])]
    proto, host = hop.scheme.encode("ascii"), get(headers, b"host")
    if hop.ip in trusted:
        proto = get(headers, b"x-forwarded-proto") or proto
        host = get(headers, b"x-forwarded-host") or host
    claims = _CLAIMS
    if hop.ip not in trusted:
        claims = _UNTRUSTED if hop.is_identified else _ANONYMOUS
    result = [(key, value) for key, value in headers if not _is_claim(key.lower(), claims)]
    if chain:
        result.append((b"X-Forwarded-For", b", ".join(chain)))
    result.append((b"X-Forwarded-Proto", proto))
    if host:
        result.append((b"X-Forwarded-Host", host))
    via = [*get_all(headers, b"via"), f"{hop.version} {pseudonym}".encode("ascii")]
    result.append((b"Via", b", ".join(via)))
    return result


def _is_claim(name: bytes, claims: Collection[bytes]) -> bool:
    """Whether the field called *name* (lower case) is replaced or dropped: one of *claims*, or like one."""
    if name in claims:
        return True
    return b"_" in name and name.replace(b"-", b"_") in _IMITATIONS


def identified(headers: Headers, identity: Headers) -> Headers:
    """*headers* with the fields *identity* of this proxy's own in place of what a client says of itself."""
    kept = [(key, value) for key, value in headers if key.lower().replace(b"_", b"-") not in IDENTITY]
    return kept + identity


def client_of(headers: Headers, hop: Hop, trusted: Collection[str]) -> str | None:
    """The client's IP address by X-Forwarded-For: the last one that is no trusted proxy.

    None where the neighbour is not trusted or tells nothing usable; the neighbour is the client then.
    """
    if hop.ip not in trusted:
        return None
    chain = [
        part.strip().decode("latin-1") for v in get_all(headers, b"x-forwarded-for") for part in v.split(b",")
    ]
    while len(chain) > 1 and chain[-1] in trusted:
        chain.pop()
    return chain[-1] if chain and _is_ip(chain[-1]) else None


def scheme_of(headers: Headers, hop: Hop, trusted: Collection[str]) -> str:
    """``http`` or ``https`` by X-Forwarded-Proto of a trusted neighbour, else the connection's own."""
    claim = (get(headers, b"x-forwarded-proto") or b"").strip().lower()
    if hop.ip in trusted and claim in (b"http", b"https"):
        return claim.decode("ascii")
    return hop.scheme


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

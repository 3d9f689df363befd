"""What a proxy tells the next server about the client: X-Forwarded-*, Via; and how that is read.

A claim about the client counts only when it comes from a trusted neighbour: else anybody could choose
the address that logs and limits see. Untrusted claims are replaced, trusted ones extended.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lbkit.http.messages import Headers, get, get_all, without
from lbkit.http.rfc7239 import clients_of, element

__all__ = [
    "IDENTITY",
    "LOOPBACK",
    "Form",
    "Hop",
    "client_of",
    "forwarded_headers",
    "hop_lines",
    "identified",
    "scheme_of",
]

Form: TypeAlias = Literal["x-forwarded", "rfc7239", "both"]
"""How a client is told to servers: by X-Forwarded-*, by Forwarded (RFC 7239), or by both."""

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


def forwarded_headers(
    headers: Headers, hop: Hop, pseudonym: str, trusted: Container[str], form: Form = "x-forwarded"
) -> Headers:
    """*headers* with X-Forwarded-For, -Proto and -Host, or Forwarded, or both, and Via for the next server.

    `Via` gets ``<version> <pseudonym>`` appended (RFC 9110 §7.6.3), which may name a whole path of
    proxies, so it is kept also from untrusted clients; the X- fields of those are dropped, and their
    Forwarded (RFC 7239), which makes the same claims. Nobody's spelling with ``_`` for ``-`` passes.

    Where only Forwarded is wanted and a trusted neighbour tells by X-Forwarded-For alone, that is translated
    (RFC 7239 §7.4).
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
    if form != "rfc7239":
        if chain:
            result.append((b"X-Forwarded-For", b", ".join(chain)))
        result.append((b"X-Forwarded-Proto", proto))
        if host:
            result.append((b"X-Forwarded-Host", host))
    if form != "x-forwarded":
        before = get_all(headers, b"forwarded") if hop.ip in trusted else []
        if not clients_of(before):  # an open quote would swallow what is added here
            before = _translated(headers) if hop.ip in trusted else []
        result = without(result, {b"forwarded"})
        own = element(hop.ip, hop.scheme, get(headers, b"host") or b"")
        result.append((b"Forwarded", b", ".join([*before, own])))
    via = [*get_all(headers, b"via"), f"{hop.version} {pseudonym}".encode("ascii")]
    result.append((b"Via", b", ".join(via)))
    return result


def _translated(headers: Headers) -> list[bytes]:
    """X-Forwarded-For as elements of Forwarded; scheme and host are those that the client used at first."""
    fields = get_all(headers, b"x-forwarded-for")
    chain = [part.strip().decode("latin-1") for value in fields for part in value.split(b",")]
    proto, host = get(headers, b"x-forwarded-proto"), get(headers, b"x-forwarded-host") or b""
    first = proto.decode("ascii") if proto in (b"http", b"https") else ""
    return [
        element(ip if _is_ip(ip) else "", "" if place else first, b"" if place else host)
        for place, ip in enumerate(chain)
    ]


def hop_lines(ip: str, scheme: str, host: bytes, form: Form) -> bytes:
    """What `forwarded_headers` adds, but for Via, where nobody has claimed anything before; as lines."""
    lines = b""
    if form != "rfc7239":
        origin = b"X-Forwarded-For: %b\r\n" % ip.encode() if ip else b""
        lines = b"%bX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (origin, scheme.encode(), host)
    if form != "x-forwarded":
        lines += b"Forwarded: %b\r\n" % element(ip, scheme, host)
    return lines


def _is_claim(name: bytes, claims: Container[bytes]) -> bool:
    """Whether the field called *name* (lower case) is replaced or dropped: one of *claims*, or like one."""
    if name in claims:
        return True
    return b"_" in name and name.replace(b"-", b"_") in _IMITATIONS


def identified(headers: Headers, identity: Headers) -> Headers:
    """*headers* with the fields *identity* of this proxy's own in place of what a client says of itself."""
    kept = [(key, value) for key, value in headers if key.lower().replace(b"_", b"-") not in IDENTITY]
    return kept + identity


def client_of(headers: Headers, hop: Hop, trusted: Container[str], form: Form = "x-forwarded") -> str | None:
    """The client's IP address by X-Forwarded-For, or where *form* says so by Forwarded: the last one that is
    no trusted proxy.

    None where the neighbour is not trusted or tells nothing usable; the neighbour is the client then.
    """
    if hop.ip not in trusted:
        return None
    if form == "rfc7239":
        chain = clients_of(get_all(headers, b"forwarded"))
    else:
        fields = get_all(headers, b"x-forwarded-for")
        chain = [part.strip().decode("latin-1") for value in fields for part in value.split(b",")]
    while len(chain) > 1 and chain[-1] in trusted:
        chain.pop()
    return chain[-1] if chain and _is_ip(chain[-1]) else None


def scheme_of(headers: Headers, hop: Hop, trusted: Container[str]) -> str:
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

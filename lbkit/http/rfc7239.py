"""The Forwarded field (RFC 7239): one element for each hop, in the order in which a request took them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

__all__ = ["clients_of", "element"]

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PAIR = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)|\"((?:[^\"\\]|\\.)*)\")")
_ESCAPED = re.compile(rb"\\(.)")
_PORT = re.compile(r"(\[[^\]]*\]|[0-9.]+)(?::[0-9]{1,5})?")


def element(ip: str, scheme: str, host: bytes) -> bytes:
    """What is known of one hop: the neighbour's address ("" for a Unix socket, which is "unknown"), how it
    asked, and for which host, empty where it named none."""
    pairs = [b"for=" + _node(ip)]
    if host:
        pairs.append(b"host=" + _value(host))
    if scheme:
        pairs.append(b"proto=" + scheme.encode("ascii"))
    return b";".join(pairs)


def _node(ip: str) -> bytes:
    """RFC 7239 §6: an IPv6 address is in brackets, and thus quoted."""
    if not ip:
        return b"unknown"
    address = ip.partition("%")[0]  # a zone means something on this machine only
    return b'"[%b]"' % address.encode("ascii") if ":" in address else address.encode("ascii")


def _value(text: bytes) -> bytes:
    if _TOKEN.fullmatch(text):
        return text
    return b'"%b"' % text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def clients_of(values: Iterable[bytes]) -> list[str]:
    """The IP addresses that the elements of all *values* tell by ``for``, in order.

    "" stands for an element that tells none: "unknown", an obfuscated name, no ``for``. Empty where anything
    breaks the grammar: what two readers may take differently is no word to go by.
    """
    text = b",".join(values)
    if not text:
        return []
    clients: list[str] = []
    place, node = 0, ""
    while True:
        place = _after_blanks(text, place)
        pair = _PAIR.match(text, place)
        if pair is not None:
            if pair[1].lower() == b"for":
                if node:
                    return []
                value = _ESCAPED.sub(rb"\1", pair[3]) if pair[2] is None else pair[2]
                node = _address(value.decode("latin-1"))
            place = _after_blanks(text, pair.end())
        end = text[place : place + 1]
        if end == b";":
            place += 1
            continue
        if end not in (b"", b","):
            return []
        clients.append(node)
        if not end:
            return clients
        place, node = place + 1, ""


def _after_blanks(text: bytes, place: int) -> int:
    while text[place : place + 1] in (b" ", b"\t"):
        place += 1
    return place


def _address(node: str) -> str:
    """The address of a node, whose port does not matter; "" where it is none."""
    match = _PORT.fullmatch(node)
    text = match[1].strip("[]") if match else ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""

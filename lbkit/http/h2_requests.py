"""HTTP/2 heads → requests and back: the same strictness as for HTTP/1.1, and the same meaning.

A field that HTTP/1.1 would read otherwise, such as one with a line feed or a Transfer-Encoding, is how a
request is smuggled past us to a server that speaks HTTP/1.1; so nothing passes that `heads` would not let
through.
"""

from __future__ import annotations

import re

from lbkit.errors import ClientError
from lbkit.http.engine import Limits
from lbkit.http.messages import Headers, Request, get, get_all, tokens, without
from lbkit.http.targets import is_authority, parse_target

__all__ = ["check_trailers", "request_of", "response_fields", "sent_fields"]

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[!-~\x80-\xff])?)?")
_SENT_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_PSEUDO = (b":method", b":scheme", b":authority", b":path")
_OF_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
"""RFC 9113 §8.2.2."""


def request_of(fields: Headers, *, has_ended: bool, limits: Limits) -> Request:
    """The request with these *fields*, pseudo-fields and all; *has_ended*: it has no body.

    Its Host is what it says of its authority, and a body of unknown length is said to be chunked, as it will
    be for whoever sends it on. Raises ClientError with the status to answer with: 400, 417, 431 or 501.
    """
    if len(fields) > limits.fields + len(_PSEUDO):
        raise ClientError(f"more than {limits.fields} header fields", 431)
    if sum(len(name) + len(value) + 4 for name, value in fields) > limits.head_size:
        raise ClientError(f"head larger than {limits.head_size} bytes", 431)
    pseudo, headers = _split(fields)
    method, scheme, path = (pseudo.get(name) for name in (b":method", b":scheme", b":path"))
    if method is None or not _METHOD.fullmatch(method):
        raise ClientError("malformed method")
    if method == b"CONNECT":
        raise ClientError("CONNECT is not offered", 501)
    if scheme not in (b"http", b"https") or path is None or not (path.startswith(b"/") or path == b"*"):
        raise ClientError("malformed request target")
    target = parse_target(path, method.decode("ascii"))
    host = _host(pseudo.get(b":authority"), headers)
    _check_fields(headers, has_ended)
    result = [(b"Host", host), *_with_one_cookie(without(headers, {b"host"}))]
    if not has_ended and get(headers, b"content-length") is None:
        result.append((b"Transfer-Encoding", b"chunked"))
    return Request(method.decode("ascii"), target, result, "2", not has_ended)


def _split(fields: Headers) -> tuple[dict[bytes, bytes], Headers]:
    """Pseudo-fields, which come first and once, and the others (RFC 9113 §8.3)."""
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    for name, value in fields:
        if name.startswith(b":"):
            if name not in _PSEUDO or name in pseudo or headers:
                raise ClientError("malformed pseudo-fields")
            pseudo[bytes(name)] = bytes(value)
        elif not _NAME.fullmatch(name):
            raise ClientError("malformed field name")
        else:
            headers.append((bytes(name), bytes(value)))
        if not _VALUE.fullmatch(value):
            raise ClientError("malformed field value")
    return pseudo, headers


def _host(authority: bytes | None, headers: Headers) -> bytes:
    """RFC 9113 §8.3.1: both may be there, and then they say the same."""
    hosts = get_all(headers, b"host")
    if len(hosts) > 1 or (hosts and authority is not None and hosts[0].lower() != authority.lower()):
        raise ClientError("several hosts, or another one than the authority")
    host = authority if authority is not None else hosts[0] if hosts else b""
    if not host or not is_authority(host):
        raise ClientError("malformed or missing host")
    return host


def _check_fields(headers: Headers, has_ended: bool) -> None:
    for name, value in headers:
        if name in _OF_CONNECTION or (name == b"te" and value.lower() != b"trailers"):
            raise ClientError("a field that HTTP/2 does not have")
    lengths = get_all(headers, b"content-length")
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise ClientError("malformed Content-Length")
    if lengths and has_ended and int(lengths[0]):
        raise ClientError("a Content-Length, and no body")
    if any(member != b"100-continue" for member in tokens(headers, b"expect")):
        raise ClientError("only 100-continue may be expected", 417)


def _with_one_cookie(headers: Headers) -> Headers:
    """RFC 9113 §8.2.3: clients send each cookie in a field of its own, and HTTP/1.1 has one for all."""
    cookies = get_all(headers, b"cookie")
    if len(cookies) < 2:
        return headers
    return [*without(headers, {b"cookie"}), (b"cookie", b"; ".join(filter(None, cookies)))]


def check_trailers(fields: Headers) -> None:
    """Raises ClientError for what could be no field of HTTP/1.1, or a field of the head."""
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ClientError("malformed trailers")


def response_fields(status: int, headers: Headers) -> Headers:
    """What is sent for a response: names in lower case, without what is of one connection.

    Raises ValueError for a status that ends nothing, or fields that cannot be sent.
    """
    if not 200 <= status <= 999:
        raise ValueError(f"{status} is no status of a final response")
    fields = sent_fields(headers)
    if status == 204:
        fields = without(fields, {b"content-length"})
    return [(b":status", b"%d" % status), *fields]


def sent_fields(headers: Headers) -> Headers:
    """*headers* in lower case, without what is of one connection: of a head, or trailers.

    Raises ValueError for fields that cannot be sent.
    """
    fields: Headers = []
    dropped = _OF_CONNECTION.union(tokens(headers, b"connection"))
    for name, value in headers:
        lower = name.lower()
        if not _NAME.fullmatch(lower) or not _SENT_VALUE.fullmatch(value):
            raise ValueError(f"{name!r}: {value!r} is no header field")
        if lower not in dropped:
            fields.append((lower, value.strip()))
    return fields

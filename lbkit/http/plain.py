"""The fast head parser: it takes the plain common form of a head, and nothing else.

Strategy: most heads that a proxy sees are made by a handful of programs and use the same few names. One
`split` into lines, one `translate` that finds any byte that has no business in a head, and one
dictionary look-up a line say that a head is plain. Whatever is unusual in any way (an HTTP/1.0 version, a
name seen twice, blanks where none need to be, an unknown method) gives None, and the strict path (`heads`
and h11) decides about it: this parser never refuses, and never says another thing than the strict path.

The dictionary holds names as they are spelled, so that no name is lowered or matched twice. It learns, up to
a bound: then new spellings are matched each time, which is slower and no less right.

Rejected: one regular expression for the whole head, which costs as much as all of this (28 µs for a
browser's head where this takes 5); caching whole heads, which is as fast as the client is monotonous.
"""

from __future__ import annotations

import re
from enum import IntFlag
from typing import TypeAlias

from lbkit.http.forwarded import IDENTITY
from lbkit.http.messages import Headers, Plain, Request, Response
from lbkit.http.targets import Target, is_authority, normalise

__all__ = [
    "Trait",
    "kind_of",
    "kinds",
    "parse_request",
    "parse_response",
    "survey_request",
    "survey_response",
]


class Trait(IntFlag):
    """Fields that mean something to a proxy."""

    HOST = 1
    CONTENT_LENGTH = 2
    TRANSFER_ENCODING = 4
    CONNECTION = 8
    CLOSE = 16
    """Connection says close."""
    CLAIM = 32
    """Something about the client or the way here, which a proxy replaces or extends: Forwarded, Via, …"""
    EXPECT = 64
    UPGRADE = 128
    HOP = 256
    """Another field for one connection only."""
    DATE = 512
    SERVER = 1024
    COOKIE = 2048
    RAW_TARGET = 4096
    """The target can be sent on as it came: it has no dot segments."""
    TE = 8192


_HOST, _LENGTH, _CODING, _CONNECTION, _CLOSE = 1, 2, 4, 8, 16
_CLAIM, _EXPECT, _UPGRADE, _HOP, _DATE, _SERVER, _COOKIE, _RAW = 32, 64, 128, 256, 512, 1024, 2048, 4096
_TE = 8192
_ONCE = _HOST | _LENGTH | _CODING | _CONNECTION | _EXPECT | _UPGRADE
_FOR_ONE_HOP = _CONNECTION | _HOP | _UPGRADE | _CODING

_MEANINGS: dict[bytes, int] = {
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"expect": _EXPECT,
    b"upgrade": _UPGRADE,
    b"keep-alive": _HOP,
    b"proxy-authenticate": _HOP,
    b"proxy-authorization": _HOP,
    b"proxy-connection": _HOP,
    b"te": _HOP | _TE,
    b"trailer": _HOP,
    b"date": _DATE,
    b"server": _SERVER,
    b"cookie": _COOKIE,
    b"via": _CLAIM,
    b"forwarded": _CLAIM,
    b"x-forwarded-for": _CLAIM,
    b"x-forwarded-proto": _CLAIM,
    b"x-forwarded-host": _CLAIM,
    b"max-forwards": _CLAIM,
    **dict.fromkeys(IDENTITY, _CLAIM),
}
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ORIGIN = re.compile(rb"/[!\"$-~]*")
_NEEDS_WORK = re.compile(rb"//|/\.|%")
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_VISIBLE = bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_LINE_ENDS = [b"\r\n" * count for count in range(256)]
_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
}
_MOST_LEARNT = 4096
_LONGEST_LEARNT = 64

RequestSurvey: TypeAlias = "tuple[list[bytes], int, list[int] | None, bytes]"
ResponseSurvey: TypeAlias = "tuple[int, list[bytes], int, list[int] | None, int]"

kinds: dict[bytes, int] = {}
"""The traits of names that were met, as they are spelled."""
_hosts: set[bytes] = set()
_statuses: dict[bytes, tuple[int, bytes]] = {}


def kind_of(name: bytes) -> int:
    """The trait of a field that is called *name*, learnt; -1 where that is no name."""
    if not _TOKEN.fullmatch(name):
        return -1
    lower = name.lower()
    kind = _MEANINGS.get(lower, 0)
    # Applications that get fields as CGI variables cannot tell X_Forwarded_For from X-Forwarded-For.
    if not kind and b"_" in lower:
        kind = _MEANINGS.get(lower.replace(b"_", b"-"), 0) & _CLAIM
    if len(kinds) < _MOST_LEARNT and len(name) <= _LONGEST_LEARNT:
        kinds[name] = kind
    return kind


for _name in _MEANINGS:
    kind_of(_name)
    kind_of(_name.title())


def parse_request(head: bytes, most_fields: int) -> Request | None:
    """The request whose head is *head*, with its empty line; None where it is not plain.

    Raises ClientError (400) for a path that `normalise` refuses.
    """
    lines = _lines(head, most_fields)
    if lines is None:
        return None
    try:
        word, raw_target, version = lines[0].split(b" ")
    except ValueError:
        return None
    method = _METHODS.get(word)
    if method is None or version != b"HTTP/1.1" or not _ORIGIN.fullmatch(raw_target):
        return None
    seen = _survey(lines)
    if seen is None:
        return None
    traits, hops, host, length = seen
    if not traits & _HOST or traits & _EXPECT or not _is_host(host):
        return None
    raw_path, mark, query = raw_target.partition(b"?")
    if _NEEDS_WORK.search(raw_path):
        target = Target(raw_path, query, normalise(raw_path), mark != b"")
        if target.origin_form == raw_target:
            traits |= _RAW
    else:
        traits |= _RAW
        target = Target(raw_path, query, raw_path, mark != b"")
    has_body = traits & (_LENGTH | _CODING) != 0
    return Request(method, target, _headers(lines), "1.1", has_body, Plain(lines, traits, hops, length, host))


def survey_request(head: bytes, most_fields: int) -> RequestSurvey | None:
    """What the fields of the request head *head* say, all but its first line; None where it is not plain.

    Lines, traits (without `Trait.RAW_TARGET`), places of fields for one hop, and Host.
    """
    lines = _lines(head, most_fields)
    if lines is None:
        return None
    seen = _survey(lines)
    if seen is None:
        return None
    traits, hops, host, _ = seen
    if not traits & _HOST or not _is_host(host):
        return None
    return lines, traits, hops, host


def parse_response(head: bytes, most_fields: int) -> Response | None:
    """The final response whose head is *head*, with its empty line; None where it is not plain."""
    seen = survey_response(head, most_fields)
    if seen is None:
        return None
    status, lines, traits, hops, length = seen
    reason = _statuses[lines[0]][1] if lines[0] in _statuses else lines[0][13:]
    return Response(status, _headers(lines), reason, "1.1", Plain(lines, traits, hops, length))


def survey_response(head: bytes, most_fields: int) -> ResponseSurvey | None:
    """What is needed to pass the answer with the head *head* on; None where it is not plain.

    Status, lines, traits, places of fields for one hop, and Content-Length (-1 for none).
    """
    # As `_lines`, without its call: this is done for every answer.
    lines = head.split(b"\r\n")
    count = len(lines) - 1
    if count > 255 or count - 2 > most_fields or head.translate(None, _VISIBLE) != _LINE_ENDS[count]:
        return None
    if b" \r" in head or b":  " in head:
        return None
    del lines[-2:]
    known = _statuses.get(lines[0])
    if known is None:
        known = _status_of(lines[0])
        if known is None:
            return None
    seen = _survey(lines)
    if seen is None:
        return None
    traits, hops, _, length = seen
    return known[0], lines, traits, hops, length


def _lines(head: bytes, most_fields: int) -> list[bytes] | None:
    """The lines of *head*; None where any byte or blank is not where it is in most heads."""
    lines = head.split(b"\r\n")
    count = len(lines) - 1
    if count > 255 or count - 2 > most_fields or head.translate(None, _VISIBLE) != _LINE_ENDS[count]:
        return None
    if b" \r" in head or b":  " in head:  # blanks that the strict path strips
        return None
    del lines[-2:]
    return lines


def _status_of(line: bytes) -> tuple[int, bytes] | None:
    match = _STATUS.fullmatch(line)
    if match is None:
        return None
    known = int(match[1]), match[2]
    if len(_statuses) < _MOST_LEARNT and len(line) <= _LONGEST_LEARNT:
        _statuses[line] = known
    return known


def _is_host(host: bytes) -> bool:
    if host in _hosts:
        return True
    if not is_authority(host):
        return False
    if len(_hosts) < _MOST_LEARNT and len(host) <= _LONGEST_LEARNT:
        _hosts.add(host)
    return True


def _headers(lines: list[bytes]) -> Headers:
    """The fields of a head whose *lines* were surveyed."""
    parts = [line.partition(b": ") for line in lines]
    del parts[0]
    return [(name, value) for name, _, value in parts]


def _survey(lines: list[bytes]) -> tuple[int, list[int] | None, bytes, int] | None:
    """Traits, places of fields for one hop, Host and Content-Length of a head; None where it is not plain."""
    traits = 0
    length = -1
    host = b""
    hops: list[int] | None = None
    fields = iter(lines)
    next(fields)  # the start line
    for place, line in enumerate(fields, 1):
        name, colon, value = line.partition(b": ")
        kind = kinds.get(name)
        if kind is None:
            kind = kind_of(name)
            if kind < 0:
                return None
        if not colon:
            return None
        if kind:
            if traits & kind & _ONCE:
                return None
            traits |= kind
            if kind == _HOST:
                host = value
            elif kind == _LENGTH:
                if not value.isdigit() or len(value) > 18:
                    return None
                length = int(value)
            elif kind & _FOR_ONE_HOP:
                if kind == _CONNECTION:
                    option = value.lower()
                    if option == b"close":
                        traits |= _CLOSE
                    elif option != b"keep-alive":
                        return None
                elif kind == _CODING and value != b"chunked":  # else it is normalised
                    return None
                if hops is None:
                    hops = []
                hops.append(place)
    if traits & _LENGTH and traits & _CODING:
        return None
    return traits, hops, host, length

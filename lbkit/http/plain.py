"""The fast head parser: it takes the plain common form of a head, and nothing else.

Strategy: most heads that a proxy sees are made by a handful of programs, and the same lines come again and
again, as HPACK (RFC 7541) counts on. So the lines of a head are split and looked up: one that was met
before is known to be plain, and what it means. Only a line that was not is looked at byte for byte, once.
Whatever is unusual in any way (an HTTP/1.0 version, a name seen twice, blanks where none need to be, an
unknown method) gives None, and the strict path (`heads` and h11) decides about it: this parser never refuses,
and never says another thing than the strict path.

Both dictionaries, of lines and of names as they are spelled, have a bound. Names are learnt up to it: new
spellings are matched each time then, which is slower and no less right. Lines are many, such as one with a
new number in each message, so that all are forgotten at their bound; the common ones are soon back. Cookies
and credentials are not kept: they are long, of one client, and secret.

Rejected: one regular expression for the whole head, which costs as much as all of this (28 µs for a browser's
head where this takes 3 to 5); one look at all bytes of a head, which costs more than looking the lines up;
keeping whole heads, which is as fast as the client is monotonous.
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
    "status_of",
    "statuses",
    "survey",
    "survey_request",
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
    CONDITION = 16384
    """A condition or a range: the answer may be another than the whole."""
    ACCEPTED_CODINGS = 32768


_HOST, _LENGTH, _CODING, _CONNECTION, _CLOSE = 1, 2, 4, 8, 16
_CLAIM, _EXPECT, _UPGRADE, _HOP, _DATE, _SERVER, _COOKIE, _RAW = 32, 64, 128, 256, 512, 1024, 2048, 4096
_TE, _CONDITION, _CODINGS = 8192, 16384, 32768
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
    b"accept-encoding": _CODINGS,
    **dict.fromkeys((b"range", b"if-range", b"if-match", b"if-none-match"), _CONDITION),
    **dict.fromkeys((b"if-modified-since", b"if-unmodified-since"), _CONDITION),
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
_STATUS = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9]{2}) (?:[\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
_SHOWN = bytes(0x41 if 0x20 <= byte < 0x7F or byte >= 0x80 else 0x20 for byte in range(256))
"""A letter for each byte that a line may have: faster to look at than a regular expression is."""
_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
}
_MOST_LEARNT = 4096
_LONGEST_LEARNT = 64
_SECRET = frozenset({b"cookie", b"set-cookie", b"authorization", b"proxy-authorization"})
_MOST_LINES = 8192
_LONGEST_LINE = 160

RequestSurvey: TypeAlias = "tuple[list[bytes], int, list[int] | None, bytes]"
Survey: TypeAlias = "tuple[list[bytes], int, list[int] | None, bytes, int]"

kinds: dict[bytes, int] = {}
"""The traits of names that were met, as they are spelled."""
_lines: dict[bytes, int] = {}
"""Field lines that were met and are plain, and what they mean."""
_hosts: set[bytes] = set()
statuses: dict[bytes, int] = {}
"""The statuses of first lines that were met."""


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
    seen = survey(head, most_fields)
    if seen is None:
        return None
    lines, traits, hops, host, length = seen
    try:
        word, raw_target, version = lines[0].split(b" ")
    except ValueError:
        return None
    method = _METHODS.get(word)
    if method is None or version != b"HTTP/1.1" or not _ORIGIN.fullmatch(raw_target):
        return None
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
    seen = survey(head, most_fields)
    if seen is None:
        return None
    lines, traits, hops, host, _ = seen
    if not traits & _HOST or not _is_host(host):
        return None
    return lines, traits, hops, host


def parse_response(head: bytes, most_fields: int) -> Response | None:
    """The final response whose head is *head*, with its empty line; None where it is not plain."""
    seen = survey(head, most_fields)
    if seen is None:
        return None
    lines, traits, hops, _, length = seen
    status = status_of(lines[0])
    if not status:
        return None
    return Response(status, _headers(lines), lines[0][13:], "1.1", Plain(lines, traits, hops, length))


def status_of(line: bytes) -> int:
    """The status that the first *line* of a final response says; 0 where it is not plain."""
    status = statuses.get(line)
    if status is None:
        match = _STATUS.fullmatch(line)
        if match is None:
            return 0
        status = int(match[1])
        if len(statuses) < _MOST_LEARNT and len(line) <= _LONGEST_LEARNT:
            statuses[line] = status
    return status


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


def survey(head: bytes, most_fields: int) -> Survey | None:
    """What the fields of *head* say, all but its first line; None where it is not plain.

    Lines, traits (without `Trait.RAW_TARGET`), places of fields for one hop, Host (empty for none), and
    Content-Length (-1 for none).
    """
    lines = head.split(b"\r\n")
    if len(lines) - 3 > most_fields:  # the first line is none, nor are two empty ones at the end
        return None
    del lines[-2:]
    traits = 0
    length = -1
    host = b""
    hops: list[int] | None = None
    fields = iter(lines)
    next(fields)
    for place, line in enumerate(fields, 1):
        kind = _lines.get(line)
        if kind is None:
            kind = _learn(line)
            if kind < 0:
                return None
        if kind:
            if traits & kind & _ONCE:
                return None
            traits |= kind
            if kind == _LENGTH:
                length = int(line[16:])
            elif kind == _HOST:
                host = line[6:]
            elif kind & _FOR_ONE_HOP:
                if hops is None:
                    hops = []
                hops.append(place)
    if traits & _LENGTH and traits & _CODING:
        return None
    return lines, traits, hops, host, length


def _learn(line: bytes) -> int:
    """What the field *line* means, kept for the next message; -1 where it is not plain."""
    name, colon, value = line.partition(b": ")
    kind = kinds.get(name)
    if kind is None:
        kind = kind_of(name)
    # Blanks at the ends are for the strict path, which strips them.
    if (
        kind < 0
        or not colon
        or not line.translate(_SHOWN).isalpha()
        or value[:1] == b" "
        or line[-1:] == b" "
    ):
        return -1
    if kind == _LENGTH:
        if not value.isdigit() or len(value) > 18:
            return -1
    elif kind == _CONNECTION:
        option = value.lower()
        if option == b"close":
            kind |= _CLOSE
        elif option != b"keep-alive":
            return -1
    elif kind == _CODING and value != b"chunked":  # else it is normalised
        return -1
    if len(line) <= _LONGEST_LINE and name.lower() not in _SECRET:
        if len(_lines) >= _MOST_LINES:
            _lines.clear()
        _lines[line] = kind
    return kind

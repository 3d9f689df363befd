"""Conditional requests: may the answer be 304 or 412, and does a range still count?

RFC 9110 §13.2.2 gives the order; pure functions of the request's header fields and the validators
of what would be sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lbkit.http.dates import parse_date
from lbkit.http.messages import Headers, get, get_all

__all__ = ["Validators", "evaluate", "range_applies"]

_TAG = re.compile(rb'(W/)?("[!#-~\x80-\xff]*")')


@dataclass(frozen=True, slots=True)
class Validators:
    """What is known about the present version: `etag` with its quotes, `modified` in epoch seconds."""

    etag: bytes
    modified: int


def evaluate(method: str, headers: Headers, current: Validators, now: float) -> int:
    """200 to go on, 304 or 412, by the preconditions in the order of RFC 9110 §13.2.2.

    *now* is epoch seconds. A date that cannot be read is as if it were not there.
    """
    is_read = method in ("GET", "HEAD")
    if (if_match := _list(headers, b"if-match")) is not None:
        if not _matches(if_match, current.etag, strong=True):
            return 412
    elif (since := _date(headers, b"if-unmodified-since", now)) is not None and current.modified > since:
        return 412
    if (if_none_match := _list(headers, b"if-none-match")) is not None:
        if _matches(if_none_match, current.etag, strong=False):
            return 304 if is_read else 412
    elif is_read:
        since = _date(headers, b"if-modified-since", now)
        if since is not None and current.modified <= since:
            return 304
    return 200


def range_applies(headers: Headers, current: Validators, now: float) -> bool:
    """Whether a Range is to be honoured: no If-Range, or one that names *current* (RFC 9110 §13.1.5).

    An entity tag must match strongly and a date exactly. A date is no strong validator before the second that
    it names is over: within that there may be another version (§8.8.2.2).
    """
    value = get(headers, b"if-range")
    if value is None:
        return True
    if value.startswith((b'"', b"W/")):
        return value == current.etag and not value.startswith(b"W/")
    return parse_date(value, now) == current.modified and now >= current.modified + 1


def _list(headers: Headers, name: bytes) -> bytes | None:
    values = get_all(headers, name)
    return b", ".join(values) if values else None


def _date(headers: Headers, name: bytes, now: float) -> int | None:
    value = get(headers, name)
    return None if value is None else parse_date(value, now)


def _matches(value: bytes, etag: bytes, *, strong: bool) -> bool:
    if value.strip() == b"*":
        return True
    opaque = etag.removeprefix(b"W/")
    is_weak = etag.startswith(b"W/")
    for match in _TAG.finditer(value):
        if match[2] == opaque and not (strong and (is_weak or match[1])):
            return True
    return False

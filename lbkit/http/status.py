"""Status codes: their reason phrases (RFC 9110 §15) and the pages that go with errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import TypeAlias

from lbkit.http.messages import Headers, Request, get_all

__all__ = ["Pages", "error_page", "reason_of", "wants_json"]

Pages: TypeAlias = Mapping[int, tuple[bytes, bytes]]
"""By status: Content-Type and body of the page that goes with it."""

_REASONS = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}
# Renamed by RFC 9110 §15.5.14, .15 and .21 after Python's table was made.
_REASONS[413] = b"Content Too Large"
_REASONS[414] = b"URI Too Long"
_REASONS[422] = b"Unprocessable Content"

# Safe for outsiders: what happened as far as they may know, and what they can do.
_EXPLANATIONS = {
    400: "The request is malformed.",
    403: "This may not be read.",
    404: "There is nothing at this address.",
    405: "This method is not offered here.",
    408: "The request took too long to arrive.",
    413: "The request is too large.",
    416: "The file has no such range.",
    417: "The expectation cannot be met.",
    431: "The head of the request is too large.",
    500: "Something went wrong here. It has been logged.",
    501: "This method or transfer coding is not offered.",
    502: "The server behind this one gave no proper answer.",
    503: "No server is available at the moment. Please try again soon.",
    504: "The server behind this one took too long to answer.",
    505: "This version of HTTP is not spoken here.",
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{explanation}</p></body></html>
"""


def reason_of(status: int) -> bytes:
    """The standard reason phrase of *status*, empty for an unknown code."""
    return _REASONS.get(status, b"")


def error_page(
    status: int, request: Request | None = None, pages: Pages | None = None
) -> tuple[Headers, bytes]:
    """Header fields and body of a small page that names *status*; it says nothing about the inside.

    One of *pages* where there is one, else JSON for a *request* that wants that and no HTML.
    """
    page = pages.get(status) if pages else None
    kind, body = page or _own_page(status, as_json=request is not None and wants_json(request.headers))
    headers = [
        (b"Content-Type", kind),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
    ]
    return headers, body


def _own_page(status: int, *, as_json: bool) -> tuple[bytes, bytes]:
    title = f"{status} {reason_of(status).decode('ascii')}".rstrip()
    explanation = _EXPLANATIONS.get(status, title)
    if as_json:
        record = {"status": status, "error": title.partition(" ")[2], "message": explanation}
        return b"application/json", json.dumps(record).encode() + b"\n"
    page = _PAGE.format(title=title, explanation=explanation)
    return b"text/html; charset=utf-8", page.encode()


def wants_json(headers: Headers) -> bool:
    """Whether Accept names JSON before any text: browsers name text/html, and most programs \"*/*\"."""
    for value in get_all(headers, b"accept"):
        for member in value.lower().split(b","):
            kind, *parameters = (part.strip() for part in member.split(b";"))
            if any(_REFUSED.fullmatch(parameter) for parameter in parameters):
                continue
            if kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json")):
                return True
            if kind.startswith(b"text/"):
                return False
    return False


_REFUSED = re.compile(rb"q=0(?:\.0{0,3})?")

from __future__ import annotations

import json

import pytest

from lbkit.http.messages import Request, get
from lbkit.http.status import error_page, reason_of
from lbkit.http.targets import parse_target


def test_reasons() -> None:
    assert reason_of(200) == b"OK"
    assert reason_of(413) == b"Content Too Large"
    assert reason_of(799) == b""


@pytest.mark.parametrize("status", [400, 404, 418, 502, 599])
def test_a_page_names_its_status_and_its_length(status: int) -> None:
    headers, body = error_page(status)
    assert f"<h1>{status}".encode() in body
    assert get(headers, b"content-length") == b"%d" % len(body)


def asked(accept: bytes | None) -> Request:
    return Request("GET", parse_target(b"/", "GET"), [] if accept is None else [(b"Accept", accept)])


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        (None, False),
        (b"*/*", False),
        (b"application/json", True),
        (b"Application/JSON;q=0.9, */*", True),
        (b"application/problem+json", True),
        (b"text/html,application/xhtml+xml,application/json", False),
        (b"application/json;q=0, text/html", False),
        (b"application/json; q=0.000", False),
        (b"text/html;q=0, application/json", True),
    ],
)
def test_a_program_gets_json(accept: bytes | None, is_json: bool) -> None:
    headers, body = error_page(503, asked(accept))
    assert (get(headers, b"content-type") == b"application/json") is is_json
    assert get(headers, b"content-length") == b"%d" % len(body)
    if is_json:
        record = json.loads(body)
        assert (record["status"], record["error"]) == (503, "Service Unavailable") and "try again" in record[
            "message"
        ]


def test_a_page_of_ones_own() -> None:
    pages = {503: (b"text/plain", b"sorry")}
    headers, body = error_page(503, asked(b"application/json"), pages)
    assert body == b"sorry" and get(headers, b"content-type") == b"text/plain"
    assert get(headers, b"content-length") == b"5" and get(headers, b"cache-control") == b"no-store"
    assert error_page(502, None, pages) == error_page(502)

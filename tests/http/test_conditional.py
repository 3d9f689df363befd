from __future__ import annotations

import pytest

from lbkit.http.conditional import Validators, evaluate, range_applies
from lbkit.http.dates import format_date

NOW = 1_700_000_000.0
MODIFIED = 1_600_000_000
CURRENT = Validators(b'"v1"', MODIFIED)
SAME, EARLIER, LATER = format_date(MODIFIED), format_date(MODIFIED - 1), format_date(MODIFIED + 1)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("GET", {b"If-None-Match": b'"v1"'}, 304),
        ("HEAD", {b"If-None-Match": b'W/"v1"'}, 304),
        ("GET", {b"If-None-Match": b'"v0", "v1"'}, 304),
        ("GET", {b"If-None-Match": b"*"}, 304),
        ("GET", {b"If-None-Match": b'"v2"'}, 200),
        ("PUT", {b"If-None-Match": b"*"}, 412),
        ("GET", {b"If-Modified-Since": SAME}, 304),
        ("GET", {b"If-Modified-Since": LATER}, 304),
        ("GET", {b"If-Modified-Since": EARLIER}, 200),
        ("GET", {b"If-Modified-Since": b"nonsense"}, 200),
        ("PUT", {b"If-Modified-Since": SAME}, 200),
        # If-None-Match has precedence over If-Modified-Since (RFC 9110 §13.1.3)
        ("GET", {b"If-None-Match": b'"v2"', b"If-Modified-Since": SAME}, 200),
        ("GET", {b"If-Match": b'"v1"'}, 200),
        ("GET", {b"If-Match": b'W/"v1"'}, 412),
        ("GET", {b"If-Match": b'"v2"'}, 412),
        ("GET", {b"If-Match": b"*"}, 200),
        ("GET", {b"If-Unmodified-Since": SAME}, 200),
        ("GET", {b"If-Unmodified-Since": EARLIER}, 412),
        # If-Match has precedence over If-Unmodified-Since (§13.1.4)
        ("GET", {b"If-Match": b'"v1"', b"If-Unmodified-Since": EARLIER}, 200),
        ("GET", {b"If-Match": b'"v2"', b"If-None-Match": b'"v1"'}, 412),
    ],
)
def test_preconditions(method: str, headers: dict[bytes, bytes], status: int) -> None:
    assert evaluate(method, list(headers.items()), CURRENT, NOW) == status


@pytest.mark.parametrize(
    ("value", "applies"),
    [
        (None, True),
        (b'"v1"', True),
        (b'"v2"', False),
        (b'W/"v1"', False),
        (SAME, True),
        (LATER, False),
        (b"x", False),
    ],
)
def test_if_range(value: bytes | None, applies: bool) -> None:
    headers = [] if value is None else [(b"If-Range", value)]
    assert range_applies(headers, CURRENT, NOW) is applies


def test_a_date_is_no_strong_validator_within_its_second() -> None:
    headers = [(b"If-Range", SAME)]
    assert not range_applies(headers, CURRENT, MODIFIED + 0.5)
    assert range_applies(headers, CURRENT, MODIFIED + 1)


def test_a_weak_tag_never_matches_strongly() -> None:
    weak = Validators(b'W/"v1"', MODIFIED)
    assert evaluate("GET", [(b"If-Match", b'W/"v1"')], weak, NOW) == 412
    assert evaluate("GET", [(b"If-None-Match", b'"v1"')], weak, NOW) == 304

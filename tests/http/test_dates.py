from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.http.dates import format_date, parse_date

RFC_EXAMPLE = 784111777
NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    "text", [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"]
)
def test_the_three_forms_of_the_rfc(text: bytes) -> None:
    assert parse_date(text, NOW) == RFC_EXAMPLE


def test_format() -> None:
    assert format_date(RFC_EXAMPLE + 0.9) == b"Sun, 06 Nov 1994 08:49:37 GMT"


@given(st.integers(0, 4_000_000_000))
def test_there_and_back(seconds: int) -> None:
    assert format_date(seconds) == formatdate(seconds, usegmt=True).encode()
    assert parse_date(format_date(seconds), NOW) == seconds


def test_a_two_digit_year_far_ahead_is_past() -> None:
    assert parse_date(b"Sunday, 06-Nov-94 08:49:37 GMT", NOW) == RFC_EXAMPLE
    near = parse_date(b"Sunday, 06-Nov-33 08:49:37 GMT", NOW)
    assert near is not None and near > NOW


@pytest.mark.parametrize(
    "text",
    [b"", b"0", b"yesterday", b"Sun, 06 Nov 1994 08:49:37", b"Sun, 06 Nov 1994 08:49:37 +0000",
     b"Sun, 31 Feb 1994 08:49:37 GMT", b"Sun, 06 Nov 1994 24:00:00 GMT", b"Sun, 06 Nov 1994 08:60:00 GMT",
     b"Sun, 06 Nov 1994 08:49:61 GMT", b"Sun, 00 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 0000 08:49:37 GMT",
     b"sun, 06 nov 1994 08:49:37 gmt"],
)  # fmt: skip
def test_what_is_no_date(text: bytes) -> None:
    assert parse_date(text, NOW) is None

from __future__ import annotations

import pytest

from lbkit.firewall.rules import Rule, parse_header_pattern

HEADERS = [(b"User-Agent", b"curl/8"), (b"X-Two", b"a"), (b"x-two", b"b")]


def test_all_that_is_given_must_match() -> None:
    rule = Rule("GET", b"/admin/", parse_header_pattern("user-agent: ^curl"))
    assert rule.matches("GET", b"/admin/x", HEADERS)
    assert not rule.matches("POST", b"/admin/x", HEADERS)
    assert not rule.matches("GET", b"/other", HEADERS)
    assert not rule.matches("GET", b"/admin/x", [])


@pytest.mark.parametrize(
    ("prefix", "path", "matches"),
    [
        (b"/admin/", b"/admin", True),
        (b"/admin/", b"/admins", False),
        (b"/admin", b"/admins", True),
        (b"/", b"/x", True),
        (b"/", b"*", False),
    ],
)
def test_paths_are_beginnings(prefix: bytes, path: bytes, matches: bool) -> None:
    assert Rule(path=prefix).matches("GET", path, []) is matches


def test_any_field_of_the_name_will_do() -> None:
    assert Rule(header=parse_header_pattern("X-Two: ^b$")).matches("GET", b"/", HEADERS)
    assert not Rule(header=parse_header_pattern("X-Two: ^c$")).matches("GET", b"/", HEADERS)


@pytest.mark.parametrize("text", ["", "Name", "Name:", "Name: ", "na me: x", ": x"])
def test_not_a_header(text: str) -> None:
    with pytest.raises(ValueError, match='is not "Name: regular expression"'):
        parse_header_pattern(text)


def test_not_an_expression() -> None:
    with pytest.raises(ValueError, match="is not a regular expression"):
        parse_header_pattern("Name: (")

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.config.values import (
    KeySource,
    is_name_pattern,
    parse_duration,
    parse_key,
    parse_size,
    quoted,
)
from lbkit.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0s", 0), ("500ms", 0.5), ("2s", 2), ("1.5m", 90), ("1h", 3600), ("2d", 172800)],
)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1 s", "1S", "1.s", ".5s", "1e3s", "٣s", "1s\n", "infs"]
)
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("16KiB", 16384), ("1MB", 10**6), ("2GiB", 2**31), ("7B", 7)]
)
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1.5KiB", "1 KiB", "1kib", "1K"])
def test_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("client", KeySource("client")),
        ("path", KeySource("path")),
        ("header:X-User", KeySource("header", "x-user")),
        ("cookie:Id", KeySource("cookie", "Id")),
        ("query:q", KeySource("query", "q")),
    ],
)
def test_key(text: str, source: KeySource) -> None:
    assert parse_key(text) == source
    assert parse_key(str(source)) == source


@pytest.mark.parametrize(
    "text", ["", "header", "header:", "header:a b", "client:x", "query:", "cookie:a=b", "x:y"]
)
def test_not_a_key(text: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        parse_key(text)


@given(st.text())
def test_anything_else_is_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_key):
        try:
            parse(text)
        except ValueError:
            continue


def test_a_duration_that_no_timer_can_take() -> None:
    for text in ("36501d", "9" * 400 + "s"):
        with pytest.raises(ValueError, match="is too long: at most 36500d"):
            parse_duration(text)


@given(st.text())
def test_quoted_text_is_read_back_as_it_was(text: str) -> None:
    assert tomllib.loads(f"x = {quoted(text)}") == {"x": text}


def test_what_is_no_unicode_cannot_be_quoted() -> None:
    with pytest.raises(ConfigError, match=r"'/home/\\udcff' is not UTF-8 text"):
        quoted("/home/\udcff")


@pytest.mark.parametrize("name", ["a", "a.example", "*.a.example", "A.Example.", "x_1.example", "127.0.0.1"])
def test_names_and_wildcards(name: str) -> None:
    assert is_name_pattern(name)


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "*", "*.", "a.*.b", "-a.b", "a b", "ä.example", "a" * 64, "a." * 127 + "b"]
)
def test_no_names(name: str) -> None:
    assert not is_name_pattern(name)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.health import Advice, parse_advice


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("75%", Advice(percent=75)),
        ("0%\n", Advice(percent=0)),
        ("ready", Advice(state="ready")),
        ("DRAIN\r\n", Advice(state="drain")),
        ("maint # disk is  full", Advice(state="maint", reason="disk is full")),
        ("up", Advice(up=True)),
        ("down", Advice(up=False)),
        ("stopped", Advice(up=False)),
        ("fail#told to", Advice(up=False, reason="told to")),
        ("maxconn:30", Advice(limit=30)),
        ("up, ready 50% maxconn:7", Advice(50, 7, "ready", True)),
    ],
)
def test_words(line: str, advice: Advice) -> None:
    assert parse_advice(line) == advice


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "said nothing"),
        (" # only a reason", "said nothing"),
        ("257%", "not from 0% to 256%"),
        ("-5%", "unknown word '-5%'"),
        ("75 %", "unknown word '75'"),
        ("maxconn:", "unknown word"),
        ("maxconn:-1", "unknown word"),
        ("HTTP/1.1 400 Bad Request", "unknown word 'HTTP/1.1'"),
        ("٧٥%", "unknown word"),
    ],
)
def test_what_is_no_advice(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_advice(line)


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["up", "75%", "maint", "maxconn:1", ",", "#", "x"])).map(" ".join)
)
def test_any_line_is_advice_or_an_error(line: str) -> None:
    try:
        advice = parse_advice(line)
    except ValueError:
        return
    assert advice.percent is None or 0 <= advice.percent <= 256
    assert advice.limit is None or advice.limit >= 0

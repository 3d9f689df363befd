from __future__ import annotations

import pytest

from lbkit.http.hop_by_hop import HOP_BY_HOP, end_to_end, hops_left, one_hop_on


def test_all_of_the_list_are_removed_whatever_their_case() -> None:
    headers = [(name.title(), b"x") for name in HOP_BY_HOP]
    assert end_to_end([*headers, (b"Accept", b"*/*")]) == [(b"Accept", b"*/*")]


def test_what_connection_lists_is_removed() -> None:
    headers = [(b"Connection", b"close, X-Mine"), (b"x-mine", b"1"), (b"X-Other", b"2")]
    assert end_to_end(headers) == [(b"X-Other", b"2")]


def test_connection_cannot_take_away_what_servers_rely_on() -> None:
    headers = [(b"Host", b"h"), (b"X-Forwarded-For", b"192.0.2.1"), (b"Content-Length", b"3")]
    headers.append((b"X-Client-Certificate-Verify", b"NONE"))
    listed = b"host, x-forwarded-for, content-length, x-client-certificate-verify"
    assert end_to_end([(b"Connection", listed), *headers]) == headers


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (b"3", 3),
        (b"0", 0),
        (b"007", 7),
        (b"", None),
        (b"-1", None),
        (b"1 ", None),
        (b"x", None),
        (b"1" * 30, None),
    ],
)
def test_max_forwards(value: bytes, left: int | None) -> None:
    headers = [(b"A", b"b"), (b"max-Forwards", value)]
    assert hops_left(headers) == left
    expected = headers if left is None else [(b"A", b"b"), (b"Max-Forwards", b"%d" % (left - 1))]
    assert one_hop_on(headers) == expected


def test_without_max_forwards() -> None:
    assert hops_left([]) is None and one_hop_on([(b"A", b"b")]) == [(b"A", b"b")]

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lbkit.config.values import parse_key
from lbkit.http.messages import Headers
from lbkit.proxy.clients import ClientReader
from lbkit.proxy.keys import cookie_of, key_reader


def exchange(target: bytes = b"/", headers: Headers = (), client: object = ("10.0.0.7", 1)) -> Any:  # type: ignore[assignment]
    request = SimpleNamespace(target=SimpleNamespace(origin_form=target), headers=list(headers))
    return SimpleNamespace(request=request, client=client, scheme="http")


CASES = [
    ("client", exchange(), b"10.0.0.7"),
    ("client", exchange(client=None), None),
    ("client", exchange(headers=[(b"X-Forwarded-For", b"192.0.2.1")], client=("127.0.0.1", 1)), b"192.0.2.1"),
    ("client", exchange(headers=[(b"X-Forwarded-For", b"192.0.2.1")]), b"10.0.0.7"),
    ("path", exchange(b"/a/b?x=1"), b"/a/b"),
    ("header:X-User", exchange(headers=[(b"x-user", b"ann")]), b"ann"),
    ("header:X-User", exchange(), None),
    ("cookie:id", exchange(headers=[(b"Cookie", b"a=1; id=42; id=43")]), b"42"),
    ("cookie:id", exchange(headers=[(b"Cookie", b"idx=1")]), None),
    ("query:q", exchange(b"/?a=1&q=x%20y&q=z"), b"x%20y"),
    ("query:q", exchange(b"/q=1"), None),
]


@pytest.mark.parametrize(("source", "request_", "key"), CASES)
def test_where_a_key_is_read_from(source: str, request_: Any, key: bytes | None) -> None:
    assert key_reader(parse_key(source), ClientReader({"127.0.0.1"}))(request_) == key


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ([b"s=1"], b"1"),
        ([b'x=2;s="1"'], b"1"),
        ([b"x=2", b"y=3;  s=1 "], b"1"),
        ([b"S=1"], None),
        ([b"s"], None),
        ([b"; ;=;s=;"], b""),
        ([], None),
    ],
)
def test_cookies(lines: list[bytes], value: bytes | None) -> None:
    assert cookie_of([(b"Cookie", line) for line in lines], b"s") == value

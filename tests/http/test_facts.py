from __future__ import annotations

import pytest

from lbkit.http.facts import facts_of
from lbkit.http.messages import Request
from lbkit.http.targets import parse_target
from lbkit.templates import PLACEHOLDERS


def facts(target: bytes, host: bytes = b"A.example:80") -> dict[str, bytes]:
    request = Request("GET", parse_target(target, "GET"), [(b"Host", host)])
    return dict(facts_of(request, "https", "192.0.2.1", b"id"))


def test_all_placeholders_are_known() -> None:
    assert facts(b"/a%20b?c=d") == {
        "authority": b"A.example:80",
        "client": b"192.0.2.1",
        "host": b"a.example",
        "method": b"GET",
        "path": b"/a%20b",
        "query": b"c=d",
        "request_id": b"id",
        "scheme": b"https",
        "uri": b"/a%20b?c=d",
    }
    assert set(facts(b"/")) == set(PLACEHOLDERS)


@pytest.mark.parametrize(
    "target", [b"//evil.example/", b"/\\evil.example/", b"/\\/\\/evil.example/", b"///evil.example/"]
)
def test_a_path_never_names_another_site(target: bytes) -> None:
    assert facts(target)["path"] == facts(target)["uri"] == b"/evil.example/"


def test_an_empty_query() -> None:
    assert facts(b"/a?")["uri"] == b"/a?" and facts(b"/a")["uri"] == b"/a"

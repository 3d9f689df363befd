from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import ClientError
from lbkit.http.rewriting import Changes, FieldRules, PathRules, Rewriting
from lbkit.http.targets import normalise, parse_target
from lbkit.templates import Template

STRIP = PathRules(strip=b"/api/")


def asked(target: bytes, *rules: PathRules) -> bytes:
    return Rewriting(paths=rules).target(parse_target(target, "OPTIONS"))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/api/x?y=/api/", b"/x?y=/api/"),
        (b"/api", b"/"),
        (b"/api?", b"/?"),
        (b"/api/", b"/"),
        (b"/apis/x", b"/apis/x"),
        (b"/x/api/", b"/x/api/"),
        (b"/api/a%2Fb%20c", b"/a%2Fb%20c"),
        (b"/%61pi/x", b"/x"),
        (b"/api%2Fx", b"/x"),
        (b"//api/x", b"/x"),
        (b"/api//x", b"/x"),
        (b"/x/../api/y", b"/y"),
        (b"/api/../x", b"/x"),
        (b"/api/%2e%2e/x", b"/x"),
        (b"*", b"*"),
    ],
)
def test_a_prefix_is_cut_off_in_whatever_spelling(target: bytes, expected: bytes) -> None:
    assert asked(target, STRIP) == expected


@given(st.binary(max_size=12).map(lambda data: b"/" + re.sub(rb"[^!\"$->@-~]", b"", data)))
def test_what_is_cut_off_is_what_the_routes_saw(path: bytes) -> None:
    try:
        target = parse_target(path, "GET")
        got = asked(path, PathRules(strip=b"/a"))
    except ClientError:
        return
    expected = target.path[2:] if re.match(rb"/a(/|\Z)", target.path) else target.path
    assert normalise(got).rstrip(b"/") == normalise(
        b"/" + expected.lstrip(b"/").replace(b"%", b"%25")
    ).rstrip(b"/")
    assert not got.startswith(b"//") or got == path


@pytest.mark.parametrize(
    ("pattern", "replacement", "target", "expected"),
    [
        (rb"^/user/(\d+)$", rb"/u/\1", b"/user/7?x", b"/u/7?x"),
        (rb"^/user/(\d+)$", rb"/u/\1", b"/user/x", b"/user/x"),
        (rb"x", b"y", b"/x/x", b"/y/x"),
        (rb"^/", b"", b"/a", b"/a"),
        (rb"^/(?P<a>[^/]*)/(.*)$", rb"/\2/\g<a>", b"/a/b%20c", b"/b%20c/a"),
        (rb"^/x$", b"/a b", b"/x", b"/a%20b"),
        (rb"^/none$", b"/y", b"/a%2fb", b"/a%2fb"),
        (rb"^/x", b"//evil", b"/x", b"/evil"),
        (rb"/x(.*)y", rb"/\1", b"/a/x..y", b"/"),
    ],
)
def test_a_pattern_is_replaced_in_the_decoded_path(
    pattern: bytes, replacement: bytes, target: bytes, expected: bytes
) -> None:
    rules = PathRules(pattern=re.compile(pattern), replacement=replacement)
    assert asked(target, rules) == expected


def test_no_replacement_leads_above_the_root() -> None:
    with pytest.raises(ClientError, match="above its root"):
        asked(b"/x..y", PathRules(pattern=re.compile(rb"/x(.*)y"), replacement=rb"/\1"))


def test_the_order_of_rules() -> None:
    rules = PathRules(strip=b"/a", pattern=re.compile(rb"^/b"), replacement=b"/c", add=b"/v1/")
    assert asked(b"/a/b/x", rules) == b"/v1/c/x"
    assert asked(b"/a/b/x", PathRules(strip=b"/a"), PathRules(strip=b"/b", add=b"/z")) == b"/z/x"


def names(*fields: tuple[bytes, bytes]) -> list[tuple[bytes, Template]]:
    return [(name, Template(value.decode())) for name, value in fields]


def test_fields_are_removed_set_and_added() -> None:
    rules = FieldRules(
        tuple(names((b"X-Real-IP", b"${client}"))), tuple(names((b"Set-Cookie", b"b=2"))), (b"X-User",)
    )
    headers = [
        (b"x-user", b"root"),
        (b"X_User", b"root"),
        (b"X-Real-Ip", b"lie"),
        (b"x_real_ip", b"lie"),
        (b"Set-Cookie", b"a=1"),
    ]
    assert rules.apply(headers, {"client": b"192.0.2.1"}) == [
        (b"Set-Cookie", b"a=1"),
        (b"X-Real-IP", b"192.0.2.1"),
        (b"Set-Cookie", b"b=2"),
    ]


def test_rules_of_a_listener_come_before_those_of_a_route() -> None:
    outer = Rewriting(host=b"outer", request=(FieldRules(tuple(names((b"A", b"1")))),))
    inner = Rewriting(request=(FieldRules(tuple(names((b"A", b"2")))),))
    changes = Changes(b"/")
    changes.rules = outer.then(inner)
    assert changes.request([(b"Host", b"client"), (b"B", b"b")]) == [
        (b"Host", b"outer"),
        (b"B", b"b"),
        (b"A", b"2"),
    ]
    assert outer.then(Rewriting(host=b"inner")).host == b"inner"
    assert not Rewriting() and outer and not outer.then(inner).response


def test_own_fields_take_the_place_of_others() -> None:
    changes = Changes(b"/")
    assert not changes.edits_response
    changes.to_server = [(b"X-Id", b"1")]
    changes.to_client = [(b"X-Id", b"2")]
    assert changes.edits_response
    assert changes.request([(b"x-id", b"0"), (b"A", b"a")]) == [(b"A", b"a"), (b"X-Id", b"1")]
    assert changes.response([(b"x-id", b"0")]) == [(b"X-Id", b"2")]

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import ClientError
from lbkit.http.targets import is_authority, normalise, parameter_of, parse_target, quote_path


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a/b?c=d", b"/a/b", b"c=d"),
        (b"/a?b?c", b"/a", b"b?c"),
        (b"/%73tatic/x", b"/static/x", b""),
        (b"/static/../x", b"/x", b""),
        (b"/static/%2e%2E/x", b"/x", b""),
        (b"/a/./b/", b"/a/b/", b""),
        (b"/a/b/..", b"/a/", b""),
        (b"/a/.", b"/a/", b""),
        (b"//evil.example/x", b"/evil.example/x", b""),
        (b"/a//b", b"/a/b", b""),
        (b"/..a/.b", b"/..a/.b", b""),
        (b"/a%2Fb", b"/a/b", b""),
        (b"/%252e%252e/x", b"/%2e%2e/x", b""),
        (b"/a/..", b"/", b""),
        (b"/%C3%A9", b"/\xc3\xa9", b""),
        (b"http://h.example:80/a?b", b"/a", b"b"),
        (b"HTTP://h.example", b"/", b""),
        (b"http://h.example?q", b"/", b"q"),
    ],
)
def test_targets_and_their_paths(target: bytes, path: bytes, query: bytes) -> None:
    parsed = parse_target(target, "GET")
    assert (parsed.path, parsed.query) == (path, query)


@pytest.mark.parametrize(
    "target",
    [b"", b"a", b"*", b"/a#b", b"/a b", b"/\x7f", b"/\xff", b"/%", b"/%2", b"/%zz", b"/%00", b"/a/%00/b", b"/..",
     b"/a/../..", b"/%2e%2e", b"ftp://h/", b"http:///a", b"http://u@h/", b"http://h:port/", b"?a", b"h:80"],
)  # fmt: skip
def test_refused_targets(target: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        parse_target(target, "GET")
    assert caught.value.status == 400


def test_connect_is_not_offered() -> None:
    with pytest.raises(ClientError) as caught:
        parse_target(b"h.example:443", "CONNECT")
    assert caught.value.status == 501


def test_the_asterisk_is_for_options() -> None:
    assert parse_target(b"*", "OPTIONS").path == b"*"
    assert parse_target(b"http://h.example", "OPTIONS").path == b"*"


@pytest.mark.parametrize("target", [b"/%62?", b"/a//b/", b"/a%2Fb", b"/.a/..b/c.", b"/a?/../b", b"/%2541"])
def test_what_is_sent_on_is_what_the_client_wrote(target: bytes) -> None:
    assert parse_target(target, "GET").origin_form == target


@pytest.mark.parametrize(
    ("target", "sent"),
    [(b"/a/../%62?", b"/b?"), (b"/a/%2E%2e", b"/"), (b"/a%2F..%2fb%3f?c/../d", b"/b%3F?c/../d"), (b"/a/.", b"/a/")],
)  # fmt: skip
def test_no_dot_segment_is_sent_on(target: bytes, sent: bytes) -> None:
    assert parse_target(target, "GET").origin_form == sent


def test_the_absolute_form_is_taken_apart() -> None:
    parsed = parse_target(b"https://h.example:8443/a?b", "GET")
    assert (parsed.origin_form, parsed.scheme, parsed.authority) == (b"/a?b", b"https", b"h.example:8443")


@pytest.mark.parametrize(
    "value", [b"", b"h", b"h:", b"h.example:80", b"127.0.0.1:1", b"[::1]", b"[::1]:8080", b"%41"]
)
def test_authorities(value: bytes) -> None:
    assert is_authority(value)


@pytest.mark.parametrize(
    "value", [b"a b", b"a/b", b"u@h", b"h:x", b"h:123456", b"::1", b"[::1", b"a,b\t", b"h:1:2"]
)
def test_what_is_no_authority(value: bytes) -> None:
    assert not is_authority(value)


@given(st.binary(max_size=30))
def test_quoting_survives_decoding(path: bytes) -> None:
    assert unquote_to_bytes(quote_path(path)) == path


@given(st.text(alphabet="/.%2eEfFaA", max_size=20))
def test_a_server_that_decodes_what_is_sent_on_sees_the_same_path(text: str) -> None:
    try:
        target = parse_target(b"/" + text.encode(), "GET")
    except ClientError:
        return
    literally = unquote_to_bytes(target.origin_form)
    assert not {b".", b".."}.intersection(literally.split(b"/"))
    assert [part for part in literally.split(b"/") if part] == [
        part for part in target.path.split(b"/") if part
    ]


@given(st.text(alphabet="/.%2eEaA", max_size=20))
def test_a_normal_path_has_no_dot_segments_and_is_stable(text: str) -> None:
    try:
        path = normalise(b"/" + text.encode())
    except ClientError:
        return
    segments = path.split(b"/")[1:]
    assert b".." not in segments and b"." not in segments and b"" not in segments[:-1]


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (b"/?a=1&q=x%20y&q=z", b"x%20y"),
        (b"/?q=", b""),
        (b"/?q", None),
        (b"/?qq=1", None),
        (b"/q=1", None),
        (b"/?a=1?q=2", None),
    ],
)
def test_a_query_parameter(target: bytes, value: bytes | None) -> None:
    assert parameter_of(target, b"q") == value

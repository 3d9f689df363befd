from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lbkit.checks.http import HttpCheck, HttpCheckOptions
from lbkit.errors import CheckFailed
from lbkit.server import Address
from tests.support.backends import Backend, Talk
from tests.support.loops import on_both_loops


def answering(data: bytes, seen: list[bytes] | None = None) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        writer.write(data)
        await writer.drain()

    return talk


async def probe(data: bytes, seen: list[bytes] | None = None, **options: Any) -> str:
    async with Backend(answering(data, seen)) as address:
        async with asyncio.timeout(5):
            return await HttpCheck(HttpCheckOptions(**options)).probe(Address.parse(address))


@pytest.mark.parametrize(
    ("head", "expect"),
    [
        (b"HTTP/1.1 200 OK", "200-399"),
        (b"HTTP/1.0 204", "200-399"),
        (b"HTTP/1.1 301 Moved", "200-399"),
        (b"HTTP/1.1 418 I'm a teapot", "200,418"),
        (b"HTTP/1.1 503 x", "200-299, 500-599"),
    ],
)
@on_both_loops
async def test_an_expected_status_passes(head: bytes, expect: str) -> None:
    assert (await probe(head + b"\r\n\r\n", expect=expect)).startswith("status ")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 500 Oops\r\n\r\n", "status 500, expected 200-399"),
        (b"HTTP/1.1 404\r\n\r\n", "status 404"),
        (b"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK", "the answer is not HTTP"),
        (b"HTTP/2 200 OK\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 999 OK\r\n", "the answer is not HTTP"),
        (b"x" * 100_000, "the answer is not HTTP"),
        (b"", "closed without an answer"),
    ],
)
@on_both_loops
async def test_anything_else_fails_with_its_reason(answer: bytes, reason: str) -> None:
    with pytest.raises(CheckFailed, match=reason):
        await probe(answer)


@on_both_loops
async def test_the_request() -> None:
    seen: list[bytes] = []
    await probe(b"HTTP/1.1 200 OK\r\n\r\n", seen, path="/health?x=1", host="example.com")
    assert seen[0].startswith(b"GET /health?x=1 HTTP/1.1\r\nHost: example.com\r\n")
    assert b"Connection: close" in seen[0]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"path": "health"}, "^path: "),
        ({"path": "/a b"}, "^path: "),
        ({"path": "/a\r\nX: y"}, "^path: "),
        ({"host": "a\r\nX: y"}, "^host: "),
        ({"expect": "2xx"}, "^expect: "),
        ({"expect": ""}, "^expect: "),
    ],
)
def test_options_say_what_is_wrong(options: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        HttpCheckOptions(**options)


BODY = b"HTTP/1.1 200 OK\r\nX-Role: primary\r\nX-Role: b\r\nContent-Length: 14\r\n\r\nall is well ok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n7\r\nis well\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        (BODY, {"expect_body": "^all .* ok$"}),
        (CHUNKED, {"expect_body": "all is well"}),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", {"expect_body": "the end$"}),
        (BODY, {"expect_headers": ("x-role: primary", "X-Role:b")}),
    ],
)
@on_both_loops
async def test_what_is_expected_of_fields_and_body(answer: bytes, options: dict[str, Any]) -> None:
    assert await probe(answer, **options) == "status 200"


@pytest.mark.parametrize(
    ("answer", "options", "reason"),
    [
        (BODY, {"expect_body": "broken"}, 'no "broken" in the body'),
        (BODY, {"expect_headers": ("X-Role: replica",)}, "status 200 without X-Role: replica"),
        (BODY[:-3], {"expect_body": "well"}, "the answer is not HTTP"),
        (
            b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_048_576 + b"late",
            {"expect_body": "late"},
            'no "late" in the body',
        ),
    ],
)
@on_both_loops
async def test_what_is_missing_in_fields_or_body(answer: bytes, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(CheckFailed, match=reason):
        await probe(answer, **options)


@on_both_loops
async def test_fields_of_ones_own() -> None:
    seen: list[bytes] = []
    await probe(b"HTTP/1.1 200 OK\r\n\r\n", seen, headers=("X-Token: abc", "User-Agent: me"))
    assert b"\r\nX-Token: abc\r\nUser-Agent: me\r\n" in seen[0]
    assert seen[0].count(b"User-Agent") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expect_body": "("}, "expect_body: .* is not a regular expression"),
        ({"headers": ("no colon",)}, "headers: .* is not"),
        ({"headers": ("X: a\r\nY: b",)}, "headers: "),
        ({"expect_headers": (": x",)}, "expect_headers: .* is not"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HttpCheckOptions(**options)

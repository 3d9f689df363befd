"""Files and trailers of applications, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lbkit.asgi import AsgiHandler
from lbkit.asgi.types import App, Receive, Scope, Send
from tests.exchange.h2_client import h2_site
from tests.exchange.wire import LAST_GET, ask
from tests.support.loops import on_both_loops, until

START = {"type": "http.response.start", "status": 200, "headers": []}
ALL = bytes(range(256)) * 4096
LAST_HEAD = LAST_GET.replace(b"GET", b"HEAD")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(ALL)
    return file


def sending(*messages: dict[str, Any], caught: list[Exception] | None = None) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            for message in messages:
                await send(message)
        except Exception as error:
            if caught is None:
                raise
            caught.append(error)
            raise

    return app


async def cut_off(app: App, data: bytes = LAST_GET) -> bytes:
    """What came before the connection was cut, as far as the reset leaves any of it."""
    try:
        return await ask(AsgiHandler(app), data)
    except ConnectionResetError:
        return b""


async def by_both(app: Callable[[], App]) -> list[bytes]:
    """The body that clients of HTTP/1.1 and of HTTP/2 get."""
    head, _, body = (await ask(AsgiHandler(app()), LAST_GET)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    if b"chunked" in head:
        whole, rest = b"", body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            whole, rest = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        body = whole
    else:
        assert b"Content-Length: %d" % len(body) in head
    async with h2_site(AsgiHandler(app())) as client:
        status, other = await client.response(client.request())
        assert status == 200
    return [body, other]


def path_send(path: object) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


@on_both_loops
async def test_a_file_by_its_path(path: Path) -> None:
    assert await by_both(lambda: sending(START, path_send(path))) == [ALL, ALL]
    (path.parent / "empty").touch()
    assert await by_both(lambda: sending(START, path_send(path.parent / "empty"))) == [b"", b""]


@on_both_loops
async def test_the_head_alone_and_answers_without_a_body(path: Path) -> None:
    answer = await ask(AsgiHandler(sending(START, path_send(path))), LAST_HEAD)
    assert b"\r\nContent-Length: %d\r\n" % len(ALL) in answer and answer.endswith(b"\r\n\r\n")
    answer = await ask(AsgiHandler(sending({**START, "status": 304}, path_send(path))), LAST_GET)
    assert answer.startswith(b"HTTP/1.1 304 ") and answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("none", FileNotFoundError, "none"),
        (".", OSError, "is no regular file"),
        ("pipe", OSError, "is no regular file"),
    ],
)
async def test_what_cannot_be_sent_is_told_before_anything_was(
    name: str, kind: type[Exception], said: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    caught: list[Exception] = []
    answer = await ask(AsgiHandler(sending(START, path_send(tmp_path / name), caught=caught)), LAST_GET)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert isinstance(caught[0], kind) and said in str(caught[0])


async def test_an_application_may_answer_otherwise_where_there_is_no_file(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await send(path_send(tmp_path / "none"))
        except FileNotFoundError:
            await send({"type": "http.response.body", "body": b"gone"})

    assert await by_both(lambda: app) == [b"gone", b"gone"]


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([path_send("/etc/hostname")], "came before http.response.start"),
        ([START, path_send("relative")], 'needs an absolute path, not "relative"'),
        (
            [START, {"type": "http.response.body"}, path_send("/etc/hostname")],
            "came after the response's end",
        ),
        (
            [START, {"type": "http.response.trailers", "headers": []}, path_send("relative")],
            "needs an absolute",
        ),
    ],
)
async def test_files_out_of_turn(messages: list[dict[str, Any]], error: str) -> None:
    caught: list[Exception] = []
    await ask(AsgiHandler(sending(*messages, caught=caught)), LAST_GET)
    assert error in str(caught[0])


@on_both_loops
async def test_a_file_that_changes_while_it_is_sent_cuts_the_connection(path: Path) -> None:
    caught: list[Exception] = []
    start = {**START, "headers": [(b"content-length", b"%d" % (2 * len(ALL)))]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        with path.open("rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file, "more_body": True})
            path.write_bytes(b"short")  # noqa: ASYNC240 - it is small
            try:
                await send(
                    {"type": "http.response.zerocopysend", "file": file, "offset": 0, "count": len(ALL)}
                )
            except ValueError as error:
                caught.append(error)
                raise

    answer = await cut_off(app)
    assert len(answer) < 2 * len(ALL)
    assert f"no {len(ALL)} bytes from 0 on: the file has 5" in str(caught[0])


@on_both_loops
async def test_a_file_that_shrinks_in_the_middle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lbkit.asgi.call as call

    real, caught = call.opened, list[Exception]()

    def shrinking(name: str) -> Any:
        part = real(name)
        path.write_bytes(b"short")
        return part

    monkeypatch.setattr(call, "opened", shrinking)
    answer = await cut_off(sending(START, path_send(path), caught=caught))
    assert len(answer) < len(ALL)
    assert str(caught[0]) == "the file changed while it was sent"


async def test_a_call_that_is_cancelled_while_the_file_is_opened_leaves_nothing_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lbkit.asgi.call as call

    real, parts = call.opened, list[Any]()
    begun, go_on = threading.Event(), threading.Event()

    def slow(name: str) -> Any:
        begun.set()
        go_on.wait(10)
        parts.append(real(name))
        return parts[0]

    monkeypatch.setattr(call, "opened", slow)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        sending = asyncio.ensure_future(send(path_send(path)))
        await asyncio.to_thread(begun.wait, 10)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await send({"type": "http.response.body", "body": b"otherwise"})

    assert (await ask(AsgiHandler(app), LAST_GET)).endswith(b"otherwise")
    go_on.set()

    def is_closed() -> bool:
        try:
            os.fstat(parts[0].descriptor)
        except OSError:
            return True
        return False

    await until(lambda: parts and is_closed())


@on_both_loops
async def test_a_file_object_with_offset_count_and_position(path: Path) -> None:
    def pieces() -> App:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send(START)
            with path.open("rb") as file:
                assert file.read(10) == ALL[:10]
                kind = "http.response.zerocopysend"
                await send({"type": kind, "file": file, "count": 20, "more_body": True})
                assert file.tell() == 30
                await send({"type": "http.response.body", "body": b"-", "more_body": True})
                await send({"type": kind, "file": file, "offset": 100_000, "count": 5, "more_body": True})
                assert file.tell() == 30, "an offset leaves it where it is"
                await send({"type": kind, "file": file})
                assert file.read() == b""

        return app

    expected = ALL[10:30] + b"-" + ALL[100_000:100_005] + ALL[30:]
    assert await by_both(pieces) == [expected, expected]


@on_both_loops
async def test_a_whole_file_object_has_a_length(path: Path) -> None:
    with path.open("rb") as file:
        message = {"type": "http.response.zerocopysend", "file": file, "offset": 0}
        assert await by_both(lambda: sending(START, message)) == [ALL, ALL]
        answer = await ask(AsgiHandler(sending(START, message)), LAST_GET)
    assert b"\r\nContent-Length: %d\r\n" % len(ALL) in answer


TRAILERS = [
    {**START, "trailers": True},
    {"type": "http.response.body", "body": b"abc", "more_body": True},
    {"type": "http.response.body"},
    {"type": "http.response.trailers", "headers": [(b"x-sum", b"1"), (b"host", b"h")], "more_trailers": True},
    {"type": "http.response.trailers", "headers": [(b"x-more", b"2")]},
]
LAST_TE = LAST_GET.replace(b"close", b"close, TE\r\nTE: trailers")


@on_both_loops
async def test_trailers_go_to_who_takes_them(path: Path) -> None:
    answer = await ask(AsgiHandler(sending(*TRAILERS)), LAST_TE)
    assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n")
    answer = await ask(AsgiHandler(sending(*TRAILERS)), LAST_GET)
    assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    async with h2_site(AsgiHandler(sending(*TRAILERS))) as client:
        number = client.request((b"te", b"trailers"))
        assert await client.response(number) == (200, b"abc")
        assert client.trailers[number] == {b"x-sum": b"1", b"x-more": b"2"}
        number = client.request()
        assert await client.response(number) == (200, b"abc")
        assert number not in client.trailers
    whole = [TRAILERS[0], {"type": "http.response.body", "body": b"abc"}, *TRAILERS[3:]]
    assert (await ask(AsgiHandler(sending(*whole)), LAST_TE)).endswith(b"\r\nx-sum: 1\r\nx-more: 2\r\n\r\n")
    files = [TRAILERS[0], path_send(path), *TRAILERS[3:]]
    assert (await ask(AsgiHandler(sending(*files)), LAST_TE)).endswith(b"\r\nx-sum: 1\r\nx-more: 2\r\n\r\n")


async def test_trailers_that_never_come_or_were_not_announced() -> None:
    caught: list[Exception] = []
    messages = [START, TRAILERS[1], TRAILERS[4]]
    await cut_off(sending(*messages, caught=caught), LAST_TE)
    assert "has not announced" in str(caught[0])
    answer = await cut_off(sending(*TRAILERS[:3]), LAST_TE)
    assert not answer.endswith(b"0\r\n\r\n"), "cut: the response has no end"

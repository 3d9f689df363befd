"""Passages with a connection and an exchange that are told what to do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lbkit.errors import BadResponse, ClientError
from lbkit.http.messages import Body, End, Headers, Interim, Request, Response
from lbkit.http.plain import parse_response
from lbkit.http.targets import parse_target
from lbkit.proxy.passage import Passage

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n"


class Source:
    """In place of an upstream connection: gives *events*."""

    def __init__(self, *events: object) -> None:
        self.events = list(events)
        self.log: list[str] = []

    def next_event(self) -> object:
        event = self.events.pop(0) if self.events else None
        if isinstance(event, Exception):
            raise event
        return event

    def __getattr__(self, name: str) -> Any:
        return lambda: self.log.append(name)


class Target:
    """In place of an exchange."""

    def __init__(self, *, passes: bool = True) -> None:
        self.passes = passes
        self.sent: list[object] = []
        self.failures: list[Exception] = []
        self.is_clogged = False
        self.error: Exception | None = None
        self.drained = asyncio.Event()
        self.request = Request("GET", parse_target(b"/", "GET"), [])

    def pass_head(self, status: int, lines: list[bytes], traits: int, length: int) -> bool:
        if self.passes:
            self.sent.append(lines)
        return self.passes

    def pass_whole(self, status: int, lines: list[bytes], traits: int, body: bytes) -> bool:
        if self.passes:
            self.sent += [lines, body, "end"]
        return self.passes

    def send_head(self, status: int, headers: Headers, reason: bytes) -> None:
        self.sent.append(headers)

    def send_body(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(data)

    def send_end(self, trailers: Headers | None = None) -> None:
        self.sent.append(trailers or "end")

    def send_interim(self, status: int, headers: Headers) -> None:
        self.sent.append((status, headers))

    async def drain(self) -> None:
        await self.drained.wait()

    def fail(self, error: Exception) -> None:
        self.failures.append(error)


def passage(source: Source, target: Target, **more: Any) -> tuple[Passage, list[object]]:
    told: list[object] = []
    return Passage(source, target, told.append, told.append, **more), told  # type: ignore[arg-type]


def response() -> Response:
    parsed = parse_response(HEAD, 100)
    assert parsed is not None
    return parsed


def test_an_answer_in_pieces() -> None:
    source, target = Source(response(), Body(b"a")), Target()
    one, told = passage(source, target)
    one.received()
    assert target.sent == [[b"HTTP/1.1 200 OK", b"Content-Length: 3"], b"a"] and told == [200]
    source.events += [Body(b"bc"), End()]
    one.received()
    assert target.sent[2:] == [b"bc", "end"] and told == [200, None] and source.log == ["release"]


def test_interim_answers_are_passed_on_but_for_a_100() -> None:
    hint = Interim(103, [(b"Link", b"x"), (b"Keep-Alive", b"5"), (b"Content-Length", b"3")])
    source, target = Source(Interim(100, []), hint, response(), End()), Target()
    passage(source, target)[0].received()
    assert target.sent == [(103, [(b"Link", b"x")]), [b"HTTP/1.1 200 OK", b"Content-Length: 3"], "end"]


def test_trailers_go_to_who_takes_them() -> None:
    end = End([(b"A", b"b"), (b"Host", b"x")])
    for headers, sent in (([(b"TE", b"trailers")], [(b"A", b"b")]), ([], "end")):
        source, target = Source(response(), end), Target()
        target.request.headers = headers
        passage(source, target)[0].received()
        assert target.sent[-1] == sent


def test_a_change_of_protocol_is_the_end_of_it() -> None:
    switch = Response(101, [])
    source, target = Source(switch, Body(b"never")), Target()
    taken: list[Response] = []
    one, told = passage(source, target, on_switch=taken.append)
    one.received()
    one.cancel()
    assert taken == [switch] and told == [101] and target.sent == [] and source.log == []


def test_a_change_of_protocol_that_cannot_be_told() -> None:
    def fail(switch: Response) -> None:
        raise ClientError("left", 0)

    source = Source(Response(101, []))
    one, told = passage(source, Target(), on_switch=fail)
    one.received()
    assert told[0] == 101 and isinstance(told[1], ClientError) and source.log == ["release"]


@pytest.mark.parametrize("passes", [True, False])
def test_a_whole_answer(passes: bool) -> None:
    target = Target(passes=passes)
    one, told = passage(Source(), target)
    one.whole(response(), b"abc")
    head: object = [b"HTTP/1.1 200 OK", b"Content-Length: 3"] if passes else [(b"Content-Length", b"3")]
    assert target.sent == [head, b"abc", "end"] and told == [200, None]


def test_an_answer_that_is_edited() -> None:
    target = Target()
    one, _ = passage(Source(), target, edit=lambda headers: [*headers, (b"A", b"b")])
    one.whole(response(), b"abc")
    assert target.sent[0] == [(b"Content-Length", b"3"), (b"A", b"b")]


def test_a_broken_answer_and_a_client_that_left() -> None:
    for source, target in (
        (Source(response(), BadResponse("x")), Target()),
        (Source(response(), Body(b"a")), Target()),
    ):
        target.error = ClientError("left", 0)
        one, told = passage(source, target)
        one.received()
        assert isinstance(told[-1], BadResponse | ClientError) and len(told) == 2
        one.failed(BadResponse("again"))
        assert len(told) == 2, "once"


def test_what_fails_after_the_servers_part_is_the_exchanges() -> None:
    target = Target(passes=False)
    target.error = ClientError("left", 0)
    one, told = passage(Source(), target)
    one.whole(response(), b"abc")
    assert told == [200, None] and target.failures == [target.error]


async def test_a_slow_client_holds_the_server_back() -> None:
    source, target = Source(response(), Body(b"a"), Body(b"b"), End()), Target()
    target.is_clogged = True
    one, told = passage(source, target)
    one.received()
    assert target.sent[1:] == [b"a"] and source.log == ["pause"]
    one.received()
    assert target.sent[1:] == [b"a"], "still"
    target.is_clogged = False
    target.drained.set()
    for _ in range(4):
        await asyncio.sleep(0)
    assert (
        target.sent[1:] == [b"a", b"b", "end"]
        and source.log == ["pause", "resume", "release"]
        and told[-1] is None
    )


async def test_a_cancelled_passage_tells_nobody() -> None:
    source, target = Source(response(), Body(b"a"), End()), Target()
    target.is_clogged = True
    one, told = passage(source, target)
    one.received()
    one.cancel()
    target.drained.set()
    for _ in range(4):
        await asyncio.sleep(0)
    assert told == [200] and source.log == ["pause", "release"]
    one.cancel()
    assert source.log == ["pause", "release"]

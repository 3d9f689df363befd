from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lbkit.exchange import Exchange, Handler, HttpSettings
from lbkit.http.routes import FieldTest, Route, RouteTable
from lbkit.proxy.routing import RouteHandler
from lbkit.static import StaticFiles
from lbkit.static.known_files import KnownFiles
from tests.exchange.wire import Site, site
from tests.static.test_files import Clock, get
from tests.support.loops import on_both_loops


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("0123456789")
    (tmp_path / "b.txt").write_text("text " * 500)
    return tmp_path


def handler_for(root: Path, clock: Clock | None = None) -> RouteHandler:
    files = StaticFiles(root) if clock is None else StaticFiles(root, clock=clock)
    table: RouteTable[Handler] = RouteTable([Route(None, "/", files)])
    return RouteHandler(table)


def begun(where: Site) -> list[Exchange]:
    """The exchanges that are begun from now on: of what goes express there are none."""
    seen: list[Exchange] = []
    begin = where.http.begin
    assert begin is not None
    where.http.begin = lambda exchange: seen.append(exchange) or begin(exchange)  # type: ignore[func-returns-value]
    return seen


@on_both_loops
async def test_the_same_request_is_answered_the_same_without_being_read(root: Path) -> None:
    async with site(handler_for(root)) as where, where.client() as client:
        seen = begun(where)
        for method in ("GET", "HEAD"):
            for headers in ({}, {"Accept_Encoding": "gzip"}, {"Connection": "keep-alive"}):
                for path in ("/a.txt", "/b.txt", "/a.txt?query"):
                    first = await get(client, path, method, **headers)
                    await get(client, path, method, **headers)
                    count = len(seen)
                    again = await get(client, path, method, **headers)
                    assert len(seen) == count
                    assert {**again[1], "date": ""} == {**first[1], "date": ""} and again[2] == first[2]
        assert where.http.counters.requests == where.http.counters.responses[2] == 54


@pytest.mark.parametrize(
    "headers",
    [{"Range": "bytes=0-1"}, {"If_None_Match": "*"}, {"If_Range": '"x"'}, {"Content_Length": "0"}],
)
def test_what_asks_for_more_is_read(root: Path, headers: dict[str, str]) -> None:

    async def run() -> None:
        async with site(handler_for(root)) as where, where.client() as client:
            await get(client, "/a.txt")
            seen = begun(where)
            for _ in range(3):
                await get(client, "/a.txt", "GET" if "If_None_Match" not in headers else "HEAD", **headers)
            assert len(seen) == 3

    asyncio.run(run())


@on_both_loops
async def test_memory_is_believed_for_a_second(root: Path) -> None:
    clock = Clock()
    async with site(handler_for(root, clock)) as where, where.client() as client:
        for text in ("one", "two"):
            (root / "a.txt").write_text(text)
            for _ in range(3):
                assert (await get(client, "/a.txt"))[2] == text.encode()
            clock.now += 1.0


@on_both_loops
async def test_the_last_request_of_a_connection_and_requests_ahead(root: Path) -> None:
    async with site(handler_for(root), HttpSettings(max_requests=6)) as where, where.client() as client:
        for _ in range(3):
            await get(client, "/a.txt")
        client.send(b"GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n" * 2)
        for _ in range(2):
            assert (await client.response())[2] == b"0123456789"
        assert (await get(client, "/a.txt"))[1]["connection"] == "close"
        assert await client.rest() == b""


@on_both_loops
async def test_another_handler_knows_nothing_of_before(root: Path) -> None:
    async with site(handler_for(root)) as where, where.client() as client:
        for _ in range(3):
            assert (await get(client, "/a.txt"))[0] == 200
        where.http.handler = RouteHandler(RouteTable())
        assert (await get(client, "/a.txt"))[0] == 404


@on_both_loops
async def test_what_is_known_is_bounded(root: Path) -> None:
    known = KnownFiles(most=2)
    files = StaticFiles(root)
    learnt: list[int] = []

    def begin(exchange: Exchange) -> object:
        work = files.begin(exchange)
        if work is None:
            known.learn(exchange, files, by_host=True)
        learnt.append(len(known))
        return work

    async with site(files) as where, where.client() as client:
        where.http.begin = begin  # type: ignore[assignment]
        for number in range(4):
            await get(client, f"/a.txt?{number}")
            await get(client, f"/a.txt?{number}", X="x" * 3000)
    assert max(learnt) == 2 and learnt[-1] == 1


@on_both_loops
async def test_other_fields_are_surveyed_and_the_answer_is_the_same(root: Path) -> None:
    async with site(handler_for(root)) as where, where.client() as client:
        for path in ("/a.txt", "/b.txt"):
            for method in ("GET", "HEAD"):
                plain = await get(client, path, method)
                for coding in ("gzip", "br, gzip;q=0", "identity"):
                    first = await get(client, path, method, Accept_Encoding=coding)
                    seen = begun(where)
                    for number in range(3):
                        fields = {"X_Number": str(number), "Cookie": f"a={number}", "Accept_Encoding": coding}
                        again = await get(client, f"{path}?n={number}", method, **fields)
                        assert {**again[1], "date": ""} == {**first[1], "date": ""} and again[2] == first[2]
                    assert not seen
                assert (await get(client, path, method, Cookie="b=c"))[1:] == plain[1:]


@on_both_loops
async def test_a_condition_among_other_fields_is_kept(root: Path) -> None:
    async with site(handler_for(root)) as where, where.client() as client:
        tag = (await get(client, "/a.txt"))[1]["etag"]
        await get(client, "/a.txt", Cookie="a=1")
        assert (await get(client, "/a.txt", Cookie="a=2", If_None_Match=tag))[0] == 304
        assert (await get(client, "/a.txt", Cookie="a=3", Range="bytes=1-2"))[2] == b"12"
        assert (await get(client, "/a.txt", Cookie="a=4", Connection="close"))[1]["connection"] == "close"


@on_both_loops
async def test_another_host_is_another_route(root: Path) -> None:
    other = root / "other"
    other.mkdir()
    (other / "a.txt").write_text("other")
    routes: list[Route[Handler]] = [Route("b", "/", StaticFiles(other)), Route(None, "/", StaticFiles(root))]
    async with site(RouteHandler(RouteTable(routes))) as where, where.client() as client:
        for number in range(3):
            for host, text in (("a", b"0123456789"), ("b", b"other"), ("c", b"0123456789")):
                client.send(b"GET /a.txt HTTP/1.1\r\nHost: %b\r\nX: %d\r\n\r\n" % (host.encode(), number))
                assert (await client.response())[2] == text


@on_both_loops
async def test_a_route_that_asks_for_a_field_is_not_learnt_by_its_line(root: Path) -> None:
    other = root / "other"
    other.mkdir()
    (other / "a.txt").write_text("other")
    beta = FieldTest(b"x-beta", b"1")
    routes: list[Route[Handler]] = [
        Route(None, "/", StaticFiles(other), tests=(beta,)),
        Route(None, "/", StaticFiles(root)),
    ]
    async with site(RouteHandler(RouteTable(routes))) as where, where.client() as client:
        for number in range(3):
            assert (await get(client, "/a.txt", Cookie=f"a={number}"))[2] == b"0123456789"
            assert (await get(client, "/a.txt", Cookie=f"a={number}", X_Beta="1"))[2] == b"other"


@on_both_loops
async def test_lines_are_bounded_too(root: Path) -> None:
    known, files = KnownFiles(most=2), StaticFiles(root)

    def begin(exchange: Exchange) -> object:
        work = files.begin(exchange)
        if work is None:
            known.learn(exchange, files, by_host=True)
        return work

    async with site(files) as where, where.client() as client:
        where.http.begin = begin  # type: ignore[assignment]
        for number in range(50):
            await get(client, f"/{'./' * (number % 5)}a.txt?{number}")
            client.send(b"GET /a.txt HTTP/1.1\r\nHost: h%d\r\n\r\n" % number)
            await client.response()
            assert len(known._lines) <= 2 and all(len(hosts) <= 16 for hosts in known._lines.values())

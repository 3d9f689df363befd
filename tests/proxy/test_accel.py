from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lbkit.exchange import Exchange, HttpProtocol
from lbkit.http.routes import Route, RouteTable
from lbkit.proxy.accel import Accel
from lbkit.proxy.forward import ForwardSettings
from lbkit.static import StaticFiles, StaticSettings
from tests.exchange.wire import Client
from tests.proxy.upstreams import Behaviour, proxy, upstream
from tests.static.test_known_files import begun
from tests.support.loops import on_both_loops

LARGE = os.urandom(300_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "private"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"0123456789")
    (folder / "sub" / "index.html").write_bytes(b"the index")
    (folder / "é %.txt").write_bytes(b"odd name")
    (folder / ".hidden").write_bytes(b"hidden")
    (folder / "large.bin").write_bytes(LARGE)
    (tmp_path / "outside.txt").write_bytes(b"outside")
    return folder


def says(*fields: bytes, body: bytes = b"", status: bytes = b"200 OK") -> Behaviour:
    """A server that always answers with *fields* and *body*."""

    async def serve(client: Client) -> None:
        while True:
            await client.reader.readuntil(b"\r\n\r\n")
            lines = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % len(body)]
            client.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    return serve


@asynccontextmanager
async def accelerated(
    root: Path, behaviour: Behaviour, settings: ForwardSettings | None = None
) -> AsyncIterator[Client]:
    """A client of a web server with the internal files *root* in front of one that behaves as said."""
    files = StaticFiles(
        root, strip_prefix="/private/", settings=StaticSettings(cache_control=(("*", "max-age=1"),))
    )
    accel = Accel(RouteTable([Route(None, "/private/", files)]))
    async with upstream(behaviour) as app, proxy(app.server, settings=settings) as lb:
        lb.forwarder.divert = accel.divert
        async with lb.site.client() as client:
            yield client


async def ask(
    client: Client, method: str = "GET", more: bytes = b"", body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    client.send(b"%b /page HTTP/1.1\r\nHost: h\r\n%b%b\r\n%b" % (method.encode(), more, length, body))
    if method != "HEAD":
        return await client.response()
    head = (await client.until(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    fields = dict(line.lower().split(": ", 1) for line in head[1:])
    return int(head[0].split()[1]), fields, b""


PLACES = {
    b"/private/a.txt": (200, b"0123456789"),
    b"/private/%61.txt": (200, b"0123456789"),
    b"/private//a.txt": (200, b"0123456789"),
    b"/private/a.txt?x=y": (200, b"0123456789"),
    b"/private/%C3%A9%20%25.txt": (200, b"odd name"),
    "/private/é %25.txt".encode(): (200, b"odd name"),
    b"/private/sub/": (200, b"the index"),
    b"/private/sub": (404, None),
    b"/private/none": (404, None),
    b"/private/.hidden": (404, None),
    b"/private/../outside.txt": (404, None),
    b"/private/%2e%2e/outside.txt": (404, None),
    b"/private/sub/..%2fa.txt": (404, None),
    b"/private/sub/../a.txt": (404, None),
    b"/private/%00": (404, None),
    b"/private/%zz": (404, None),
    b"private/a.txt": (404, None),
    b"@named": (404, None),
    b"": (404, None),
    b"/elsewhere/a.txt": (502, None),
    b"/page": (502, None),
    b"http://127.0.0.1/private/a.txt": (404, None),
}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.decode())
@on_both_loops
async def test_where_it_leads(root: Path, place: bytes) -> None:
    status, body = PLACES[place]
    async with accelerated(root, says(b"X-Accel-Redirect: " + place)) as client:
        for _ in range(2):  # in a task, and over the kept connection without one
            answer = await ask(client)
            assert answer[0] == status
            assert not [name for name in answer[1] if name.startswith("x-accel")]
            if body is not None:
                assert answer[2] == body


FIELDS = [
    # What the server says, and what the client gets of it.
    (b"Content-Type: application/x-own", ("content-type", "application/x-own")),
    (b"content-disposition: attachment", ("content-disposition", "attachment")),
    (b"Set-Cookie: a=b", ("set-cookie", "a=b")),
    (b"Cache-Control: private", ("cache-control", "private")),
    (b"Expires: 0", ("expires", "0")),
    (b"Accept-Ranges: none", ("accept-ranges", "none")),
    (b"ETag: \"mine\"", ("etag", None)),
    (b"Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT", ("last-modified", None)),
    (b"Content-Encoding: br", ("content-encoding", "")),
    (b"X-Other: 1", ("x-other", "")),
    (b"X-Accel-Buffering: no", ("x-accel-buffering", "")),
    (b"Content-Range: bytes 0-1/2", ("content-range", "")),
]  # fmt: skip


@pytest.mark.parametrize(("said", "got"), FIELDS, ids=[said.decode() for said, _ in FIELDS])
@on_both_loops
async def test_which_fields_are_kept(root: Path, said: bytes, got: tuple[str, str | None]) -> None:
    for name in (b"a.txt", b"large.bin"):
        async with accelerated(root, says(b"X-Accel-Redirect: /private/" + name, said)) as client:
            for method in ("GET", "HEAD"):
                status, fields, _ = await ask(client, method)
                assert (
                    status == 200 and int(fields["content-length"]) == (root / name.decode()).stat().st_size
                )
                if got[1] is None:
                    assert fields[got[0]].encode() not in said
                else:
                    assert fields.get(got[0], "") == got[1]
                if got[0] != "cache-control":
                    assert fields["cache-control"] == "max-age=1"


@on_both_loops
async def test_conditions_and_ranges_are_of_the_file(root: Path) -> None:
    said = (
        b"X-Accel-Redirect: /private/large.bin",
        b"Content-Type: video/x",
        b"Set-Cookie: a=b",
        b'ETag: "no"',
    )
    async with accelerated(root, says(*said)) as client:
        _, whole, body = await ask(client)
        assert body == LARGE
        status, fields, _ = await ask(client, more=f"If-None-Match: {whole['etag']}\r\n".encode())
        assert status == 304 and fields["set-cookie"] == "a=b" and "content-type" not in fields
        status, fields, body = await ask(client, more=b"Range: bytes=5-9\r\n")
        assert (status, body, fields["content-type"]) == (206, LARGE[5:10], "video/x")
        status, fields, body = await ask(client, more=b"Range: bytes=0-0,299999-\r\n")
        assert status == 206 and body.count(b"Content-Type: video/x") == 2
        assert (await ask(client, more=b"Range: bytes=300000-\r\n"))[0] == 416
        assert (await ask(client, more=b'If-Match: "no"\r\n'))[0] == 412


@on_both_loops
async def test_a_server_may_say_that_there_are_no_ranges(root: Path) -> None:
    said = (b"X-Accel-Redirect: /private/a.txt", b"Accept-Ranges: none")
    async with accelerated(root, says(*said)) as client:
        status, fields, body = await ask(client, more=b"Range: bytes=5-9\r\n")
        assert (status, body, fields["accept-ranges"]) == (200, b"0123456789", "none")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@on_both_loops
async def test_the_file_is_asked_for_by_get(root: Path, method: str) -> None:
    async with accelerated(root, says(b"X-Accel-Redirect: /private/a.txt", status=b"403 No")) as client:
        for body in (b"", b"x" * 1000):
            assert (await ask(client, method, body=body))[::2] == (200, b"0123456789")


@on_both_loops
async def test_the_body_that_comes_with_it_goes_nowhere(root: Path) -> None:
    said = b"X-Accel-Redirect: /private/a.txt"
    for body in (b"secret", b"secret" * 100_000):
        async with accelerated(root, says(said, body=body)) as client:
            for _ in range(3):
                assert (await ask(client))[::2] == (200, b"0123456789")


@on_both_loops
async def test_other_answers_pass_without_fields_for_the_web_server(root: Path) -> None:
    said = (b"X-Accel-Buffering: no", b"X-Kept: 1")
    for body in (b"short", b"long" * 50_000):
        async with accelerated(root, says(*said, body=body)) as client:
            for _ in range(3):
                status, fields, got = await ask(client)
                assert (status, fields["x-kept"], got) == (200, "1", body)
                assert "x-accel-buffering" not in fields
        async with accelerated(root, says(b"X-Kept: 1", body=body)) as client:
            assert (await ask(client))[2] == body


@on_both_loops
async def test_with_a_sticky_cookie(root: Path) -> None:
    settings = ForwardSettings(sticky_cookie="lb")
    async with accelerated(root, says(b"X-Accel-Redirect: /private/a.txt"), settings) as client:
        for _ in range(3):
            assert (await ask(client))[::2] == (200, b"0123456789")


@on_both_loops
async def test_without_internal_routes_the_field_goes_on(root: Path) -> None:
    async with upstream(says(b"X-Accel-Redirect: /private/a.txt")) as app, proxy(app.server) as lb:
        async with lb.site.client() as client:
            assert (await ask(client))[1]["x-accel-redirect"] == "/private/a.txt"


@on_both_loops
async def test_answers_without_such_fields_go_express(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(says(b"X-Kept: 1", body=b"short")) as app, proxy(app.server) as lb:
        lb.forwarder.divert = Accel(RouteTable()).divert
        async with lb.site.client() as client:
            await ask(client)  # makes the connection that is kept
            stops: list[bytes] = []
            stop_over = HttpProtocol.stop_over

            def counted(wire: HttpProtocol, data: bytes) -> Exchange:
                stops.append(data)
                return stop_over(wire, data)

            monkeypatch.setattr(HttpProtocol, "stop_over", counted)
            seen = begun(lb.site)
            for _ in range(3):
                assert (await ask(client))[2] == b"short"
            assert stops == [] and seen == []

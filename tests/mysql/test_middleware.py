from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from lbkit.errors import ConfigError
from lbkit.mysql import Router, RouterOptions
from lbkit.mysql.middleware import ReadYourWrites
from tests.support.databases import LivePair, stalled
from tests.support.loops import until

SECRET = "a secret of the test, long enough"
Headers = list[tuple[bytes, bytes]]


async def ask(app: Any, path: str, headers: Headers, scheme: str = "http") -> tuple[Headers, bytes]:
    """One request to an application; the answer's headers and body."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": scheme, "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip
    answer: Headers = []
    body = b""

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal body
        answer.extend(message.get("headers", ()))
        body += message.get("body", b"")

    await asyncio.create_task(app(scope, receive, send))
    return answer, body


def application(router: Router, table: str, **options: Any) -> Starlette:
    """An application as somebody writes it with Starlette: /write and /read."""

    async def write(request: Request) -> JSONResponse:
        await router.execute(f"INSERT INTO {table} (text) VALUES ('mine')")
        return JSONResponse(None)

    async def read(request: Request) -> JSONResponse:
        rows = await router.fetch_all(f"SELECT text FROM {table}")
        return JSONResponse([rows.server, len(rows)])

    return Starlette(
        routes=[Route("/write", write), Route("/read", read)],
        middleware=[Middleware(ReadYourWrites, router=router, secret=SECRET, **options)],
    )


def cookie_of(headers: Headers) -> bytes:
    (cookie,) = [value for name, value in headers if name == b"set-cookie"]
    return cookie.partition(b";")[0]


async def test_the_next_request_reads_its_clients_write_in_another_process(
    pair: LivePair, table: str
) -> None:
    options = RouterOptions(monitor_interval=0.1, wait_for_writes=0.1, max_lag=30)
    async with Router(pair.dsns, options) as first, Router(pair.dsns, options) as second:
        one, other = (application(router, table, header="Lbkit-Writes") for router in (first, second))
        async with stalled(pair):
            headers, _ = await ask(one, "/write", [])
            cookie = cookie_of(headers)
            assert await ask(other, "/read", [(b"cookie", b"theme=dark; " + cookie)]) == (
                [(b"content-length", b"12"), (b"content-type", b"application/json")],
                b'["mysql1",1]',
            )
            (header,) = [value for name, value in headers if name == b"lbkit-writes"]
            assert (await ask(other, "/read", [(b"lbkit-writes", header)]))[1] == b'["mysql1",1]'
            for tampered in (
                b"",
                cookie[:-2] + b"AA",
                cookie + b"x" * 5000,
                b"lbkit_writes=*",
                b"lbkit_writes=\xff",
            ):
                _, body = await ask(other, "/read", [(b"cookie", tampered)])
                assert body in (b'["mysql2",0]', b'["mysql1",1]')
        await until(lambda: second.status()["servers"][1]["lag"] == 0)
        assert (await ask(other, "/read", [(b"cookie", cookie)]))[1] == b'["mysql2",1]'


class FakeRouter(Router):
    """A router that nobody asks for a database."""

    def __init__(self, max_lag: float = 10.0) -> None:
        super().__init__(["mysql://u@h"], RouterOptions(max_lag=max_lag))


def writes(router: Router, token: str) -> Any:
    """An application that writes, and notes what its reads would have to show."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shown.append(router.shown(None, ""))
        router.wrote(token)
        await send({"type": "http.response.start", "status": 200})

    shown: list[str] = []
    app.shown = shown  # type: ignore[attr-defined]  # a test's own
    return app


async def test_a_cookie_lives_as_long_as_it_says_and_grows() -> None:
    router, now = FakeRouter(), 1000.0
    app = writes(router, "0-1-7")
    site = ReadYourWrites(app, router, SECRET, clock=lambda: now)
    headers, _ = await ask(site, "/", [], "https")
    (text,) = [value.decode() for _, value in headers]
    assert text.endswith("; Max-Age=120; Path=/; HttpOnly; SameSite=Lax; Secure")
    cookie = (b"cookie", cookie_of(headers))
    assert (await ask(site, "/", [cookie]))[0] == []  # nothing new was written
    now += 120
    await ask(site, "/", [cookie])
    now += 1
    await ask(site, "/", [cookie])
    assert app.shown == ["", "0-1-7", "0-1-7", ""]


async def test_what_does_not_write_gets_no_cookie() -> None:
    router = FakeRouter()
    assert (await ask(ReadYourWrites(writes(router, ""), router, SECRET), "/", []))[0] == []


async def test_other_scopes_pass() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await ReadYourWrites(app, FakeRouter(), SECRET)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # not called
    assert seen == ["lifespan"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"secret": "short"}, "secret: at least 16 bytes"),
        ({"cookie": ""}, "needs a cookie or a header"),
        ({"cookie": "a b"}, 'cookie: "a b" is no name'),
        ({"header": "a:b"}, 'header: "a:b" is no name'),
        ({"max_age": 20}, "max_age: must be above 20 s"),
    ],
)
def test_what_can_not_work(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ReadYourWrites(writes(FakeRouter(), ""), FakeRouter(), **{"secret": SECRET, **options})

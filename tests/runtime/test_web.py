from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lbkit.config import Config, loads
from lbkit.errors import ConfigError
from lbkit.runtime import Runtime, catalog
from lbkit.runtime.web import prepare
from tests.exchange.wire import Client, connected
from tests.proxy.upstreams import upstream
from tests.support.backends import free_address, full_backlog
from tests.support.loops import on_both_loops, until


def config(web: str, port: int = 1, folder: Path | None = None) -> Config:
    text = f"""
    [listeners.web]
    listen = "127.0.0.1:0"
    mode = "http"
    {web}
    [pools.app]
    servers = [{{ name = "a", address = "127.0.0.1:{port}" }}]
    """
    return loads(text, catalog(), folder)


@asynccontextmanager
async def client_of(runtime: Runtime) -> AsyncIterator[Client]:
    async with connected(runtime.addresses["web"].port) as client:
        yield client


async def ask(
    client: Client, path: str, method: str = "GET", more: str = ""
) -> tuple[int, dict[str, str], bytes]:
    client.send(f"{method} {path} HTTP/1.1\r\nHost: h.example\r\n{more}\r\n".encode())
    return await client.response()


async def echo(client: Client) -> None:
    """Answers with the head that it got."""
    while True:
        head = await client.reader.readuntil(b"\r\n\r\n")
        client.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head))


def free_port() -> int:
    return int(free_address().rpartition(":")[2])


ROUTES = """
    pool = "app"
    rewrite = { response_headers = { set = { X-Frame-Options = "DENY" } } }
    [[listeners.web.routes]]
    path_exact = "/health"
    methods = ["GET"]
    answer = { body = "fine\\n", headers = { Cache-Control = "no-store" } }
    [[listeners.web.routes]]
    path = "/old/"
    redirect = { to = "/new${path}", status = 308 }
    [[listeners.web.routes]]
    headers = { X-Page = "1" }
    answer = { status = 503, file = "sorry.html" }
    [[listeners.web.routes]]
    path = "/api/"
    pool = "app"
    rewrite = { strip_prefix = "/api", request_headers = { set = { X-Real-IP = "${client}" } } }
"""


@on_both_loops
async def test_routes_answers_and_rewriting_as_configured(tmp_path: Path) -> None:
    (tmp_path / "sorry.html").write_text("<p>sorry")
    async with upstream(echo) as app:
        port = app.server.address.port
        async with Runtime(config(ROUTES, port, tmp_path)) as runtime, client_of(runtime) as client:
            status, fields, body = await ask(client, "/health")
            assert (status, body, fields["cache-control"]) == (200, b"fine\n", "no-store")
            assert fields["content-type"] == "text/plain; charset=utf-8"
            assert (await ask(client, "/old/x?y"))[1]["location"] == "/new/old/x"
            status, fields, body = await ask(client, "/", more="X-Page: 1\r\n")
            assert (status, body, fields["content-type"]) == (503, b"<p>sorry", "text/html; charset=utf-8")
            for _ in range(2):
                _, fields, head = await ask(client, "/api/x")
                assert head.startswith(b"GET /x HTTP/1.1\r\n") and b"X-Real-IP: 127.0.0.1\r\n" in head
                assert fields["x-frame-options"] == "DENY"
            assert (await ask(client, "/health", "DELETE"))[2].startswith(b"DELETE /health ")


@on_both_loops
async def test_a_listener_without_rules_has_none_of_it_after_a_reload() -> None:
    async with upstream(echo) as app:
        port = app.server.address.port
        async with Runtime(config('pool = "app"', port)) as runtime, client_of(runtime) as client:
            for _ in range(2):
                assert "x-frame-options" not in (await ask(client, "/"))[1]
            with_rules = (
                'pool = "app"\nrewrite = { response_headers = { set = { X-Frame-Options = "DENY" } } }'
            )
            await runtime.reload(config(with_rules, port))
            for _ in range(2):
                assert (await ask(client, "/"))[1]["x-frame-options"] == "DENY"
            await runtime.reload(config('pool = "app"', port))
            for _ in range(2):
                assert "x-frame-options" not in (await ask(client, "/"))[1]


@on_both_loops
async def test_a_file_that_is_gone_at_a_reload_changes_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.txt"
    page.write_text("one")
    wanted = config('routes = [{ answer = { file = "page.txt" } }]', folder=tmp_path)
    async with Runtime(wanted) as runtime, client_of(runtime) as client:
        assert (await ask(client, "/"))[2] == b"one"
        page.write_text("two")
        await runtime.reload(wanted)
        assert (await ask(client, "/"))[2] == b"two"
        page.unlink()
        with pytest.raises(ConfigError, match=r"listeners.web.routes\[1\].answer.file: .* cannot be read"):
            await runtime.reload(wanted)
        assert (await ask(client, "/"))[2] == b"two"


def test_a_file_that_has_grown(tmp_path: Path) -> None:
    page = tmp_path / "page.txt"
    page.write_text("one")
    wanted = config('routes = [{ answer = { file = "page.txt" } }]', folder=tmp_path).listeners["web"]
    page.write_bytes(bytes(2 * 1024 * 1024))
    with pytest.raises(ConfigError, match="is larger than 1024 KiB"):
        prepare("web", wanted)


@on_both_loops
async def test_servers_are_told_as_configured() -> None:
    async with upstream(echo) as app:
        port = app.server.address.port
        text = 'pool = "app"\nforwarded = "rfc7239"\ntrusted_proxies = ["192.0.2.0/24"]\nrequest_id = true\ntracing = true'
        async with Runtime(config(text, port)) as runtime, client_of(runtime) as client:
            lies = "Forwarded: for=10.0.0.1\r\nX-Forwarded-For: 10.0.0.1\r\n"
            for _ in range(2):
                _, fields, head = await ask(client, "/", more=lies)
                assert b"\r\nForwarded: for=127.0.0.1;host=h.example;proto=http\r\n" in head
                assert b"10.0.0.1" not in head and b"\r\ntraceparent: 00-" in head
                assert b"\r\nX-Request-Id: " + fields["x-request-id"].encode() in head
            await runtime.reload(config('pool = "app"', port))
            for _ in range(2):
                _, fields, head = await ask(client, "/", more=lies)
                assert b"\r\nX-Forwarded-For: 10.0.0.1, 127.0.0.1\r\n" in head
                assert "x-request-id" not in fields and b"traceparent" not in head


@on_both_loops
async def test_error_pages_are_shown_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "sorry.html").write_text("<p>sorry")
    (tmp_path / "no.json").write_text("{}")
    (tmp_path / "a.txt").write_text("a")
    text = """
    error_pages = { 404 = "no.json", 400 = "sorry.html", 405 = "sorry.html", 502 = "sorry.html" }
    rewrite = { response_headers = { set = { X-Frame-Options = "DENY" } } }
    routes = [{ path = "/files/", static = "." }, { path = "/app/", pool = "app" }]
    """
    wanted = config(text, free_port(), tmp_path)
    async with Runtime(wanted) as runtime, client_of(runtime) as client:
        status, fields, body = await ask(client, "/x")
        assert (status, body, fields["content-type"]) == (404, b"{}", "application/json")
        assert fields["x-frame-options"] == "DENY"
        assert (await ask(client, "/files/a.txt", "PUT"))[::2] == (405, b"<p>sorry")
        assert (await ask(client, "/app/"))[::2] == (502, b"<p>sorry")
        (tmp_path / "sorry.html").write_text("<p>very sorry")
        await runtime.reload(wanted)
        assert (await ask(client, "/app/"))[::2] == (502, b"<p>very sorry")
        (tmp_path / "no.json").unlink()
        with pytest.raises(
            ConfigError, match=r"listeners.web.error_pages.404: .*no.json cannot be read: no such"
        ):
            await runtime.reload(wanted)
        status, fields, body = await ask(client, "/%zz")
        assert (status, body, fields["content-type"]) == (400, b"<p>very sorry", "text/html; charset=utf-8")


def with_timeouts(port: int, timeouts: str, server: str = "") -> Config:
    text = f"""
    [listeners.web]
    listen = "127.0.0.1:0"
    mode = "http"
    pool = "app"
    timeouts = {{ {timeouts} }}
    [pools.app]
    retries = 0
    servers = [{{ name = "a", address = "127.0.0.1:{port}"{server} }}]
    """
    return loads(text, catalog())


async def silent(client: Client) -> None:
    await client.reader.read()


POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@on_both_loops
@pytest.mark.parametrize(
    ("timeout", "sent", "answer"),
    [
        ("request_head", b"GET / HTT", b"HTTP/1.1 408 "),
        ("request_head", b"", b""),
        ("client", POST, b"HTTP/1.1 408 "),
        ("server", GET, b"HTTP/1.1 504 "),
    ],
)
async def test_who_is_silent_is_given_up(timeout: str, sent: bytes, answer: bytes) -> None:
    async with upstream(silent) as app:
        wanted = with_timeouts(app.server.address.port, f'{timeout} = "200ms"')
        async with Runtime(wanted) as runtime, client_of(runtime) as client:
            client.send(sent)
            if answer:
                assert (await client.until(b"\r\n\r\n")).startswith(answer)
            if timeout != "server":
                await client.rest()
            assert runtime.pool("app").open_sessions == 0


@on_both_loops
async def test_a_pause_between_requests_is_bounded() -> None:
    async with upstream(echo) as app:
        wanted = with_timeouts(app.server.address.port, 'keep_alive = "200ms"')
        async with Runtime(wanted) as runtime, client_of(runtime) as client:
            assert (await ask(client, "/"))[0] == 200
            assert await client.rest() == b""


@on_both_loops
async def test_waiting_for_a_server_is_bounded() -> None:
    async with upstream(silent) as app:
        wanted = with_timeouts(app.server.address.port, 'queue = "200ms"', ", max_connections = 1")
        async with Runtime(wanted) as runtime, client_of(runtime) as one, client_of(runtime) as two:
            one.send(GET)
            await until(lambda: runtime.pool("app").open_sessions == 1)
            assert (await ask(two, "/"))[0] == 503


@on_both_loops
async def test_connecting_is_bounded() -> None:
    listening, waiting = full_backlog()
    try:
        wanted = with_timeouts(listening.getsockname()[1], 'connect = "200ms"')
        async with Runtime(wanted) as runtime, client_of(runtime) as client:
            assert (await ask(client, "/"))[0] == 502
    finally:
        for sock in (listening, *waiting):
            sock.close()


@on_both_loops
async def test_the_silence_of_a_tunnel_is_bounded() -> None:
    async def switch(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await client.reader.read()

    async with upstream(switch) as app:
        wanted = with_timeouts(app.server.address.port, 'tunnel = "200ms"')
        async with Runtime(wanted) as runtime, client_of(runtime) as client:
            client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            with contextlib.suppress(ConnectionError):
                assert await client.rest() == b""
            await until(lambda: runtime.open_sessions == 0 and runtime.pool("app").open_sessions == 0)


@on_both_loops
async def test_a_client_of_http_1_0_stays() -> None:
    async with upstream(echo) as app:
        async with Runtime(config('pool = "app"', app.server.address.port)) as runtime:
            async with client_of(runtime) as client:
                for _ in range(3):
                    client.send(b"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
                    status, fields, head = await client.response()
                    assert (status, fields["connection"]) == (200, "keep-alive")
                    assert b"onnection" not in head and b"Via: 1.0 web" in head


INTERNAL = """
    pool = "app"
    rewrite = { response_headers = { set = { X-Frame-Options = "DENY" } } }
    [[listeners.web.routes]]
    path = "/private/"
    static = "files"
    internal = true
    [[listeners.web.routes]]
    path = "/public/"
    static = "files"
"""


@on_both_loops
async def test_a_server_sends_clients_to_files_that_they_cannot_ask_for(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("the file")

    async def serve(client: Client) -> None:
        while True:
            await client.reader.readuntil(b"\r\n\r\n")
            place = b"X-Accel-Redirect: /private/a.txt\r\nContent-Length: 0"
            client.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/x-own\r\n%b\r\n\r\n" % place)

    async with upstream(serve) as app:
        port = app.server.address.port
        async with Runtime(config(INTERNAL, port, tmp_path)) as runtime, client_of(runtime) as client:
            for _ in range(3):
                status, fields, body = await ask(client, "/whatever")
                assert (status, body, fields["content-type"]) == (200, b"the file", "text/x-own")
                assert fields["x-frame-options"] == "DENY"
                assert (await ask(client, "/private/a.txt"))[0] == 404
                assert (await ask(client, "/private/b.txt"))[0] == 404
                assert (await ask(client, "/public/a.txt"))[2] == b"the file"
            await runtime.reload(config('pool = "app"', port, tmp_path))
            assert (await ask(client, "/private/a.txt"))[1]["x-accel-redirect"] == "/private/a.txt"
            await runtime.reload(config(INTERNAL, port, tmp_path))
            assert (await ask(client, "/whatever"))[2] == b"the file"
            assert (await ask(client, "/private/a.txt"))[0] == 404

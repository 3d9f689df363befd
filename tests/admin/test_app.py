from __future__ import annotations

import json
from typing import Any

import pytest

from lbkit.admin import AdminApp, ServerChange, View
from lbkit.config import ServerConfig
from lbkit.errors import ConfigError
from tests.support.servers import make_pool, make_servers

JSON = [(b"host", b"127.0.0.1:8404"), (b"content-type", b"application/json")]


class Control:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []

    def change_server(self, pool: str, server: str, change: ServerChange) -> None:
        if server == "gone":
            raise KeyError('server "gone" in pool "p"')
        self.done.append((pool, server, change))

    def add_server(self, pool: str, server: ServerConfig) -> None:
        if server.name == "a":
            raise ConfigError('name: pool "p" has a server "a" already')
        self.done.append((pool, server))

    def remove_server(self, pool: str, server: str) -> None:
        self.done.append((pool, server))


async def ask(
    path: str,
    method: str = "GET",
    body: bytes | list[bytes] = b"",
    headers: list[tuple[bytes, bytes]] | None = None,
    control: Control | None = None,
) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []
    parts = [body] if isinstance(body, bytes) else list(body)

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        if not parts:
            return {"type": "http.disconnect"}
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts) or isinstance(body, list)}

    pool = make_pool(*make_servers(1, 1))
    app = AdminApp(lambda: View(now=0.0, listeners=[], pools=[pool]), "1.2.3", control)
    scope = {
        "type": "http",
        "path": path.replace("%2F", "/"),
        "raw_path": path.encode(),
        "method": method,
        "headers": JSON if headers is None else headers,
    }
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def test_metrics() -> None:
    status, headers, body = await ask("/metrics")
    assert status == 200
    assert headers[b"content-type"].startswith(b"text/plain; version=0.0.4")
    assert b'lbkit_info{version="1.2.3"} 1.0' in body


async def test_status() -> None:
    status, headers, body = await ask("/status")
    assert (status, headers[b"content-type"]) == (200, b"application/json")
    facts = json.loads(body)
    assert (facts["version"], facts["listeners"], facts["reloads"]) == ("1.2.3", {}, 0)
    assert list(facts["pools"]["p"]["servers"]) == ["a", "b"]


async def test_the_dashboard_takes_nothing_from_elsewhere() -> None:
    _, headers, body = await ask("/")
    assert b'href="/metrics"' in body
    assert b'href="/status"' in body
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    for path, kind in (("/dashboard.js", b"text/javascript"), ("/dashboard.css", b"text/css")):
        status, headers, body = await ask(path)
        assert status == 200
        assert headers[b"content-type"].startswith(kind)
        assert b"://" not in body


async def test_a_pool_is_explained() -> None:
    status, _, body = await ask("/pools/p")
    facts = json.loads(body)
    assert status == 200
    assert (facts["name"], facts["waiting"], facts["open_sessions"]) == ("p", 0, 0)
    assert [(one["name"], one["candidate"], one["reason"]) for one in facts["servers"]] == [
        ("a", True, "no check configured"),
        ("b", True, "no check configured"),
    ]


@pytest.mark.parametrize(
    ("path", "method", "expected"),
    [
        ("/nope", "GET", 404),
        ("/pools/nope", "GET", 404),
        ("/nope", "POST", 404),
        ("/status", "POST", 405),
        ("/", "DELETE", 405),
        ("/pools/p", "PATCH", 405),
        ("/pools/p/servers", "PATCH", 405),
        ("/pools/p/servers/a", "PUT", 405),
    ],
)
async def test_what_is_not_there(path: str, method: str, expected: int) -> None:
    control = Control()
    status, headers, body = await ask(path, method, b"{}", control=control)
    assert status == expected
    assert (b"allow" in headers) == (expected == 405)
    assert json.loads(body)["errors"]
    assert control.done == []


async def test_changes() -> None:
    control = Control()
    status, _, body = await ask(
        "/pools/p/servers/a", "PATCH", b'{"state": "drain", "weight": 7}', control=control
    )
    assert status == 200
    assert json.loads(body)["name"] == "p"
    await ask("/pools/p/servers/x%2Fy", "DELETE", control=control)
    status, _, _ = await ask(
        "/pools/p/servers",
        "POST",
        b'{"name": "c", "address": "127.0.0.1:9", "backup": true}',
        control=control,
    )
    assert status == 201
    assert control.done[0] == ("p", "a", ServerChange("drain", 7))
    assert control.done[1] == ("p", "x/y")
    assert str(control.done[2][1].address) == "127.0.0.1:9"


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("/pools/p/servers/a", b"{", 422, "the body is not JSON"),
        ("/pools/p/servers/a", b'{"wieght": 1}', 422, 'wieght: unknown key (did you mean "weight"?)'),
        ("/pools/p/servers/gone", b"{}", 404, 'there is no server "gone" in pool "p"'),
        ("/pools/p/servers/a", b" " * 70_000, 413, "more than 65536 bytes"),
        ("/pools/p/servers/a", [b"{"], 400, "the body is not complete"),
    ],
)
async def test_changes_that_make_no_sense(path: str, body: Any, status: int, problem: str) -> None:
    control = Control()
    code, _, answer = await ask(path, "PATCH", body, control=control)
    assert code == status
    assert problem in json.loads(answer)["errors"][0]
    assert control.done == []


async def test_a_taken_name() -> None:
    body = b'{"name": "a", "address": "127.0.0.1:9"}'
    status, _, answer = await ask("/pools/p/servers", "POST", body, control=Control())
    assert (status, json.loads(answer)["errors"]) == (422, ['name: pool "p" has a server "a" already'])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"host", b"127.0.0.1:8404"), (b"content-type", b"text/plain")], 415),
        ([(b"host", b"127.0.0.1:8404")], 415),
        ([*JSON, (b"origin", b"https://evil.example")], 403),
        ([*JSON, (b"origin", b"null")], 403),
        ([*JSON, (b"origin", b"http://127.0.0.1:9999")], 403),
        ([(b"host", b"evil.example"), JSON[1]], 403),
        ([(b"host", b"evil.example:8404"), JSON[1], (b"origin", b"http://evil.example:8404")], 403),
        ([JSON[1]], 403),
        ([*JSON, (b"origin", b"http://127.0.0.1:8404")], 200),
        ([(b"host", b"localhost:8404"), JSON[1]], 200),
        ([(b"host", b"[::1]:8404"), JSON[1]], 200),
        ([(b"host", b"[::1]"), JSON[1]], 200),
    ],
)
async def test_pages_of_other_sites_can_change_nothing(
    headers: list[tuple[bytes, bytes]], status: int
) -> None:
    control = Control()
    code, _, _ = await ask("/pools/p/servers/a", "PATCH", b"{}", headers, control)
    assert code == status
    assert bool(control.done) == (status == 200)


async def test_without_control_nothing_can_be_changed() -> None:
    assert (await ask("/pools/p/servers/a", "PATCH", b"{}"))[0] == 405


async def test_other_scopes_are_refused() -> None:
    with pytest.raises(ValueError, match="websocket is not served"):
        await AdminApp(lambda: View(0, [], []), "")({"type": "websocket"}, None, None)  # type: ignore[arg-type]

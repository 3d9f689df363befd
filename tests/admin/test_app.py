from __future__ import annotations

import json
from typing import Any

import pytest

from lbkit.admin import AdminApp, View


async def ask(path: str, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the app reads no body")

    app = AdminApp(lambda: View(now=0.0, listeners=[], pools=[]), "1.2.3")
    await app({"type": "http", "path": path, "method": method}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def test_metrics() -> None:
    status, headers, body = await ask("/metrics")
    assert status == 200
    assert headers[b"content-type"].startswith(b"text/plain; version=0.0.4")
    assert b'lbkit_info{version="1.2.3"} 1.0' in body


async def test_status() -> None:
    status, headers, body = await ask("/status")
    assert (status, headers[b"content-type"]) == (200, b"application/json")
    assert json.loads(body) == {
        "version": "1.2.3",
        "listeners": {},
        "pools": {},
        "reloads": 0,
        "failed_reloads": 0,
    }


async def test_index_links_the_pages() -> None:
    _, _, body = await ask("/")
    assert b'href="/metrics"' in body
    assert b'href="/status"' in body


@pytest.mark.parametrize(("path", "method", "expected"), [("/nope", "GET", 404), ("/status", "POST", 405)])
async def test_what_is_not_there(path: str, method: str, expected: int) -> None:
    status, headers, _ = await ask(path, method)
    assert status == expected
    assert (b"allow" in headers) == (expected == 405)


async def test_other_scopes_are_refused() -> None:
    with pytest.raises(ValueError, match="websocket is not served"):
        await AdminApp(lambda: View(0, [], []), "")({"type": "websocket"}, None, None)  # type: ignore[arg-type]

"""The ASGI app behind ``[admin]``: metrics, status, a dashboard, and changes of servers at run time.

::

    GET    /                                dashboard
    GET    /metrics                         Prometheus text
    GET    /status                          everything as JSON
    GET    /pools/POOL                      one pool: why each server is or is not a candidate
    POST   /pools/POOL/servers              add a server: {"name": …, "address": …, …}
    PATCH  /pools/POOL/servers/SERVER       {"state": "ready" | "drain" | "maint", "weight": …, …}
    DELETE /pools/POOL/servers/SERVER

It asks no password and belongs on loopback. A web page that an operator has open elsewhere could still
reach it through the browser, so a change must be JSON by its Content-Type, which a browser does not send
across sites without asking first, its Origin must be this very address, and Host must be an address or
"localhost": a name would let a page in whose domain was pointed at this machine (DNS rebinding).
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from importlib.resources import files
from typing import Any
from urllib.parse import unquote_to_bytes

from lbkit.admin.changes import Control, read_change, read_new_server
from lbkit.admin.view import View, families, status
from lbkit.errors import ConfigError
from lbkit.metrics import CONTENT_TYPE, render

__all__ = ["AdminApp"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MOST = 64 * 1024
_TEXT = "text/plain; charset=utf-8"
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"
)
_FILES = {
    "/": ("dashboard.html", "text/html; charset=utf-8"),
    "/dashboard.js": ("dashboard.js", "text/javascript; charset=utf-8"),
    "/dashboard.css": ("dashboard.css", "text/css; charset=utf-8"),
}


class _Refused(Exception):
    """An answer other than success."""

    def __init__(self, status: int, *problems: str) -> None:
        super().__init__(*problems)
        self.status = status
        self.problems = problems


class AdminApp:
    """Serves what the module's docstring lists. *view* is called for each request.

    Without *control* nothing can be changed.
    """

    def __init__(self, view: Callable[[], View], version: str, control: Control | None = None) -> None:
        self._view = view
        self._version = version
        self._control = control
        folder = files("lbkit.admin")
        self._files = {path: (kind, (folder / name).read_bytes()) for path, (name, kind) in _FILES.items()}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI 3; http only."""
        if scope["type"] != "http":
            raise ValueError(f"scope type {scope['type']} is not served here")
        try:
            code, kind, body = await self._answer(scope, receive)
        except _Refused as refusal:
            code, kind, body = refusal.status, "application/json", _json({"errors": refusal.problems})
        allow = _allowed(scope["path"]) if code == 405 else b""
        await _respond(send, code, kind, body, allow)

    async def _answer(self, scope: Message, receive: Receive) -> tuple[int, str, bytes]:
        path, method = scope["path"], scope["method"]
        if method in ("GET", "HEAD"):
            return (200, *self._page(path, _names(scope)))
        if not path.startswith("/pools/"):
            raise _Refused(405 if path in ("/metrics", "/status", *_FILES) else 404, "nothing to change here")
        if self._control is None:
            raise _Refused(405, "nothing can be changed here")
        _check_same_site(scope)
        try:
            return await self._change(self._control, method, _names(scope), receive)
        except KeyError as error:
            raise _Refused(404, f"there is no {error.args[0]}") from None
        except ConfigError as error:
            raise _Refused(422, *error.problems) from None

    def _page(self, path: str, names: list[str]) -> tuple[str, bytes]:
        if path in self._files:
            return self._files[path]
        if path == "/metrics":
            return CONTENT_TYPE, render(families(self._view()), {"version": self._version})
        if path == "/status":
            return "application/json", _json({"version": self._version, **status(self._view())})
        if len(names) == 2 and names[0] == "pools":
            return "application/json", _json(self._explained(names[1]))
        raise _Refused(404, "there is no such page")

    def _explained(self, name: str) -> dict[str, Any]:
        view = self._view()
        pool = next((pool for pool in view.pools if pool.name == name), None)
        if pool is None:
            raise _Refused(404, f'there is no pool "{name}"')
        return {
            "name": name,
            "waiting": view.waiting_in(pool),
            "open_sessions": pool.open_sessions,
            "servers": [dataclasses.asdict(one) for one in pool.explain(view.now)],
        }

    async def _change(
        self, control: Control, method: str, names: list[str], receive: Receive
    ) -> tuple[int, str, bytes]:
        match method, names:
            case "POST", ["pools", pool, "servers"]:
                control.add_server(pool, read_new_server(await _body(receive)))
                code = 201
            case "PATCH", ["pools", pool, "servers", server]:
                control.change_server(pool, server, read_change(await _body(receive)))
                code = 200
            case "DELETE", ["pools", pool, "servers", server]:
                control.remove_server(pool, server)
                code = 200
            case _:
                raise _Refused(405, f"{method} is not for this path")
        return code, "application/json", _json(self._explained(pool))


def _names(scope: Message) -> list[str]:
    """The parts of the path; a name may hold an escaped slash."""
    raw = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    parts = raw.partition(b"?")[0].strip(b"/").split(b"/")
    return [unquote_to_bytes(part).decode("utf-8", "surrogateescape") for part in parts]


def _allowed(path: str) -> bytes:
    if not path.startswith("/pools/"):
        return b"GET, HEAD"
    return b"POST" if path.endswith("/servers") else b"PATCH, DELETE" if "/servers/" in path else b"GET, HEAD"


def _check_same_site(scope: Message) -> None:
    """Raises where a browser may have been led here by another site."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get(b"host", "")
    if not _is_address(host):
        raise _Refused(403, f'Host "{host}" is neither an IP address nor localhost')
    origin = headers.get(b"origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise _Refused(403, f'Origin "{origin}" is another site')
    kind = headers.get(b"content-type", "").partition(";")[0].strip().lower()
    if scope["method"] != "DELETE" and kind != "application/json":
        raise _Refused(415, "a change needs Content-Type: application/json")


def _is_address(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host
    name = name.removeprefix("[").removesuffix("]")
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refused(400, "the body is not complete")
        body += message.get("body", b"")
        if len(body) > _MOST:
            raise _Refused(413, f"the body has more than {_MOST} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _json(data: Any) -> bytes:
    return json.dumps(data, indent=1, default=str).encode() + b"\n"


async def _respond(send: Send, code: int, kind: str, body: bytes, allow: bytes) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"content-security-policy", _POLICY),
        (b"x-content-type-options", b"nosniff"),
    ]
    if allow:
        headers.append((b"allow", allow))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})

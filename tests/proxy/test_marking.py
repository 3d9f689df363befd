from __future__ import annotations

import random
import re

import pytest

from lbkit.http.routes import RouteTable
from lbkit.http.tracing import parse_traceparent
from lbkit.http.trusted import Trusted
from lbkit.proxy.marking import Marking
from lbkit.proxy.routing import RouteHandler
from tests.exchange.wire import Client
from tests.proxy.upstreams import proxy, upstream
from tests.support.loops import on_both_loops

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def seen(
    fields: str, *, trusted: Trusted | None = None, name: str = "X-Request-Id", tracing: bool = True
) -> tuple[dict[str, str], dict[str, str], tuple[bytes, bytes]]:
    """What the server and the client got of a second request, and what a log would say of it."""
    heads: list[bytes] = []

    async def serve(client: Client) -> None:
        while True:
            heads.append(await client.reader.readuntil(b"\r\n\r\n"))
            client.send(b"HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n")

    mark = Marking(name, tracing=tracing, rng=random.Random(1), trusted=trusted or Trusted(["127.0.0.1"]))
    async with upstream(serve) as a, proxy(a.server) as lb:
        logged: list[tuple[bytes, bytes]] = []

        def log(exchange: object, trail: object) -> None:
            changes = exchange.changes  # type: ignore[attr-defined]
            logged.append((changes.request_id, changes.trace))

        lb.site.http.handler = RouteHandler(RouteTable(), lb.forwarder, mark)
        lb.site.http.access_log = log
        async with lb.site.client() as client:
            for more in ("", fields):
                client.send(f"GET /a?b HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode())
                _, answer, _ = await client.response()
    lines = heads[1].decode().split("\r\n")
    assert lines[0] == "GET /a?b HTTP/1.1"
    names = [line.partition(": ")[0].lower() for line in lines[1:]]
    assert len(names) - 1 == len(set(names)), lines
    return {n: line.partition(": ")[2] for n, line in zip(names, lines[1:], strict=True)}, answer, logged[1]


@on_both_loops
async def test_an_id_is_made_and_told_to_all() -> None:
    server, client, logged = await seen("")
    assert re.fullmatch("[0-9a-f]{32}", server["x-request-id"])
    assert client["x-request-id"] == server["x-request-id"] == logged[0].decode()


@on_both_loops
@pytest.mark.parametrize(
    ("field", "kept"),
    [
        ("X-Request-Id: abc-1_2.3\r\n", True),
        ("x-request-id: abc\r\nX-Request-ID: abc\r\n", False),
        ("X-Request-Id: a b\r\n", False),
        ('X-Request-Id: a"b\r\n', False),
        ("X-Request-Id: \r\n", False),
        ("X-Request-Id: " + "a" * 129 + "\r\n", False),
        ("X_Request_Id: abc\r\n", False),
    ],
)
async def test_a_trusted_neighbours_id_is_kept_where_it_is_one(field: str, kept: bool) -> None:
    server, client, _ = await seen(field)
    assert (server["x-request-id"] in field) is kept
    assert client["x-request-id"] == server["x-request-id"] and "x_request_id" not in server


@on_both_loops
async def test_a_strangers_id_is_replaced() -> None:
    server, _, _ = await seen("X-Request-Id: abc\r\n", trusted=Trusted(["192.0.2.1"]))
    assert server["x-request-id"] != "abc"


@on_both_loops
async def test_a_trace_goes_on_with_this_hop_in_it() -> None:
    server, client, logged = await seen(f"traceparent: {PARENT}\r\ntracestate: a=1\r\nTraceState: b=2\r\n")
    parent = parse_traceparent([server["traceparent"].encode()])
    assert parent is not None and parent.trace.decode() in PARENT and parent.parent.decode() not in PARENT
    assert server["tracestate"] == "a=1,b=2" and parent.flags == b"01"
    assert logged[1] == parent.trace and "traceparent" not in client


@on_both_loops
@pytest.mark.parametrize(
    "bad", ["", "traceparent: 00-x\r\n", f"traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\n"]
)
async def test_a_trace_begins_here_where_there_is_none_that_is_good(bad: str) -> None:
    server, _, _ = await seen(bad + "tracestate: a=1\r\n")
    parent = parse_traceparent([server["traceparent"].encode()])
    assert parent is not None and parent.trace.decode() not in PARENT and "tracestate" not in server


@on_both_loops
async def test_a_bad_state_goes_alone() -> None:
    server, _, _ = await seen(f"traceparent: {PARENT}\r\ntracestate: A\r\n")
    assert server["traceparent"][:35] == PARENT[:35] and "tracestate" not in server


@on_both_loops
async def test_only_what_is_wanted() -> None:
    server, client, logged = await seen(f"traceparent: {PARENT}\r\n", tracing=False)
    assert server["traceparent"] == PARENT and logged[1] == b""
    server, client, logged = await seen("X-Request-Id: abc\r\n", name="")
    assert (server["x-request-id"], client["x-request-id"]) == ("abc", "theirs") and logged[0] == b""


def test_a_marked_listener_has_no_express_way() -> None:
    mark = Marking("X-Id", tracing=False, rng=random.Random(1))
    assert RouteHandler(RouteTable(), None, mark).express is None and RouteHandler(RouteTable()).express

from __future__ import annotations

import errno
from functools import partial

import pytest

from lbkit.errors import BadResponse, ClientError, Exhausted, NoServerAvailable, ServerTimeout
from lbkit.exchange import Exchange, HttpServer, HttpSettings
from lbkit.exchange.answering import answer, completed
from lbkit.http.messages import Request
from lbkit.http.targets import parse_target
from tests.asgi.test_scope import Wire


def exchange() -> Exchange:
    request = Request("GET", parse_target(b"/x", "GET"), [])
    return Exchange(Wire(None), request, 1, body_buffer=0)  # type: ignore[arg-type]


async def run(http: HttpServer, one: Exchange) -> int | None:
    return await answer(http, one, partial(http.handler, one))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ClientError("no", 413), 413),
        (ClientError("gone", 0), 0),
        (NoServerAvailable("none"), 503),
        (Exhausted("no descriptor"), 503),
        (ServerTimeout("late"), 504),
        (BadResponse("bad"), 502),
        (OSError(errno.EMFILE, "too many"), 500),
    ],
)
async def test_what_a_failure_is_for_the_client(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: Exchange) -> None:
        raise error

    assert await run(HttpServer(fail, clock=lambda: 1.0), exchange()) == status
    assert "Traceback" not in caplog.text, "none of these is a bug"
    assert (not caplog.text) is isinstance(error, ClientError)


async def test_bugs_and_unfinished_answers(caplog: pytest.LogCaptureFixture) -> None:
    async def bug(_: Exchange) -> None:
        raise ZeroDivisionError("bug")

    async def nothing(_: Exchange) -> None:
        pass

    async def finish(one: Exchange) -> None:
        one.finish()

    assert await run(HttpServer(bug), exchange()) == 500
    assert "ZeroDivisionError" in caplog.text
    assert await run(HttpServer(finish), exchange()) is None
    assert await run(HttpServer(nothing), exchange()) == 500
    assert "left its response unfinished" in caplog.text
    gone = exchange()
    gone.lose()
    assert await run(HttpServer(nothing), gone) == 0


def test_what_every_response_has() -> None:
    async def nothing(_: Exchange) -> None:
        pass

    http = HttpServer(nothing, HttpSettings(hsts=b"max-age=1"), clock=lambda: 1.0)
    assert [name for name, _ in completed(http, [], "https")] == [
        b"Date",
        b"Server",
        b"Strict-Transport-Security",
    ]
    assert [name for name, _ in completed(http, [], "http")] == [b"Date", b"Server"]
    own = [(b"date", b"x"), (b"server", b"y"), (b"strict-transport-security", b"z")]
    assert completed(http, own, "https") == own

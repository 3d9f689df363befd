from __future__ import annotations

import asyncio
import logging

import pytest

from lbkit.asgi.lifespan import Lifespan
from lbkit.asgi.types import Receive, Scope, Send
from lbkit.errors import StartFailed


async def good(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["log"] = ["up"]
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    scope["state"]["log"].append("down")
    await send({"type": "lifespan.shutdown.complete"})


async def test_up_and_down_with_state() -> None:
    lifespan = Lifespan(good)
    await lifespan.startup()
    assert lifespan.state == {"log": ["up"]}
    await lifespan.shutdown()
    assert lifespan.state == {"log": ["up", "down"]}


async def test_an_app_that_knows_no_lifespan() -> None:
    async def http_only(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"

    async def ignorant(scope: Scope, receive: Receive, send: Send) -> None:
        return

    for app in (http_only, ignorant):
        lifespan = Lifespan(app)
        await lifespan.startup()
        await lifespan.shutdown()


async def test_a_failed_start_has_the_apps_message(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "Traceback …\nOSError: no database\n"})
        raise OSError("no database")

    with caplog.at_level(logging.ERROR), pytest.raises(StartFailed, match=r"OSError: no database$"):
        await Lifespan(app).startup()
    assert "Traceback …" in caplog.text and "ended early" not in caplog.text


async def test_a_failed_start_without_a_message() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed"})

    with pytest.raises(StartFailed, match="gave no reason"):
        await Lifespan(app).startup()


async def test_a_start_that_never_ends() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(1000)

    with pytest.raises(StartFailed, match=r"within 0\.01 s"):
        await Lifespan(app, startup_timeout=0.01).startup()


async def test_a_start_that_nobody_waits_for_any_more_is_ended() -> None:
    ended: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(True)

    starting = asyncio.create_task(Lifespan(app).startup())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert ended == [True]


@pytest.mark.parametrize("way", ["hangs", "fails", "dies"])
async def test_stops_that_go_wrong_are_logged(way: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.complete"})
        if way == "dies":
            raise ValueError("early")
        await receive()
        await receive()
        if way == "fails":
            await send({"type": "lifespan.shutdown.failed", "message": "stuck"})
        await asyncio.sleep(1000)

    lifespan = Lifespan(app, shutdown_timeout=0.01)
    with caplog.at_level(logging.ERROR):
        await lifespan.startup()
        await asyncio.sleep(0)
        assert await lifespan.shutdown() is (way == "dies")
    assert {"hangs": "did not stop", "fails": "stuck", "dies": "ended early"}[way] in caplog.text


async def test_a_message_that_does_not_belong_here() -> None:
    caught: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start"})
        except ValueError as error:
            caught.append(str(error))

    await Lifespan(app).startup()
    assert len(caught) == 1

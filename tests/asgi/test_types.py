from __future__ import annotations

from lbkit.asgi.types import App, Receive, Scope, Send


def test_a_plain_coroutine_function_is_an_app() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    typed: App = app
    assert callable(typed)

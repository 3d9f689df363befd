"""`ReadYourWrites`: ASGI middleware with which a client's next request reads what this one wrote.

    app = ReadYourWrites(app, router, secret=os.environ["SECRET"])             # any ASGI application
    app.add_middleware(ReadYourWrites, router=router, secret=…)                # Starlette, FastAPI

The token of what a request wrote goes out with its answer, signed, in a cookie, and by *header* also in a
field of that name for clients that keep no cookies; it comes back with the client's next request, to whatever
process. All that request's reads then show it. What is written after the answer has begun is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from lbkit.asgi.types import App, Message, Receive, Scope, Send
from lbkit.errors import ConfigError
from lbkit.mysql.own_writes import OwnWrites
from lbkit.mysql.router import Router
from lbkit.mysql.signed import Signer

__all__ = ["ReadYourWrites"]

_TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _wall_clock() -> float:
    return datetime.now(UTC).timestamp()


class ReadYourWrites:
    """*secret*: the same in all processes, at least 16 bytes; several: the first signs, all are accepted.

    *cookie* and *header* name what carries the token, "" for none. *max_age*: seconds that a token is good
    for; by then every replica has the write, or is too far behind to be read from. A token that was tampered
    with, is over, or of another database's is as none. Raises ConfigError for what can't work.
    """

    def __init__(
        self,
        app: App,
        router: Router,
        secret: str | bytes | Sequence[str | bytes],
        *,
        cookie: str = "lbkit_writes",
        header: str = "",
        max_age: float = 120.0,
        clock: Callable[[], float] = _wall_clock,
    ) -> None:
        secrets = [secret] if isinstance(secret, (str, bytes)) else secret
        if not (cookie or header):
            raise ConfigError("cookie: a token needs a cookie or a header to travel in")
        for key, name in (("cookie", cookie), ("header", header)):
            if not _TOKEN_CHARACTERS.issuperset(name):
                raise ConfigError(f'{key}: "{name}" is no name of a {key} (RFC 9110, section 5.6.2)')
        if max_age <= 2 * router.options.max_lag:
            least = 2 * router.options.max_lag
            raise ConfigError(
                f"max_age: must be above {least:g} s, twice the router's max_lag: a replica that far behind "
                "may be read from"
            )
        self._app = app
        self._router = router
        self._signer = Signer(secrets, "read your writes")
        self._cookie = cookie
        self._header = header.lower().encode()
        self._max_age = int(max_age)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        came = self._token_of(scope["headers"])
        with self._router.own_writes(came) as own:
            came = own.token

            async def send_with_token(message: Message) -> None:
                if message["type"] in ("http.response.start", "websocket.accept") and own.token != came:
                    message = {**message, "headers": [*message.get("headers", ()), *self._fields(own, scope)]}
                await send(message)

            await self._app(scope, receive, send_with_token)

    def _token_of(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """What the client wrote before, by either way; where both have come, the header counts."""
        found = ""
        for name, value in headers:
            if self._cookie and name == b"cookie":
                found = found or self._in_cookies(value.decode("latin-1"))
            elif self._header and name == self._header and (text := self._read(value.decode("latin-1"))):
                return text
        return found

    def _in_cookies(self, text: str) -> str:
        for pair in text.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self._cookie and (token := self._read(value.strip('"'))):
                return token
        return ""

    def _read(self, signed: str) -> str:
        return self._signer.read(signed, self._clock())

    def _fields(self, own: OwnWrites, scope: Scope) -> list[tuple[bytes, bytes]]:
        signed = self._signer.sign(own.token, int(self._clock()) + self._max_age)
        fields = []
        if self._cookie:
            secure = "; Secure" if scope.get("scheme") in ("https", "wss") else ""
            cookie = (
                f"{self._cookie}={signed}; Max-Age={self._max_age}; Path=/; HttpOnly; SameSite=Lax{secure}"
            )
            fields.append((b"set-cookie", cookie.encode()))
        if self._header:
            fields.append((self._header, signed.encode()))
        return fields

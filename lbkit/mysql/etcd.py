"""`Etcd`: requests to an etcd cluster through its JSON gateway (``POST /v3/…``, etcd 3.4 and later).

The gateway is plain HTTP/1.1 with JSON, which lbkit speaks already, with keys and values in base64, 64-bit
numbers as strings, and fields of default value left out. One connection a request: five requests are all
that a failover makes, and a connection that was kept would be found dead when time matters most.

Each request has a time limit for each server, and goes to the next one where a server does not answer, or
says that its cluster does not (no leader, no quorum). The one that answered is asked first the next time.
Requests may therefore arrive twice. What a server refuses is not asked of another one.

Rejected: etcd3gw, which is well kept and blocks (requests); aetcd, which is asyncio and knows one server and
no TLS; etcd3aio, some months old; and for all of gRPC's clients, grpcio and protobuf in every installation of
a pure-Python program for five requests. The gateway's one lack: a client certificate is no login (etcd's
manual, "TLS common name"), so that users need a password.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from lbkit.errors import BadResponse, ConnectFailed, Exhausted, ServerError, ServerTimeout
from lbkit.http.engine import ClientEngine
from lbkit.http.messages import Body, End, Headers, Response
from lbkit.server import Address
from lbkit.sockets import connect
from lbkit.tls.client import ClientTls, why_not_secured

__all__ = ["Etcd", "EtcdRefused", "decoded", "encoded", "shown"]

Json: TypeAlias = dict[str, Any]

READ = 64 * 1024
MOST = 256 * 1024  # bytes of an answer
MOST_TOLD = 300  # letters of what an answer says, in an error
PROXY_FAILED = 502  # and above: something in between that did not reach etcd
DEADLINE, UNAVAILABLE, UNAUTHENTICATED = 4, 14, 16  # gRPC's codes
_TOKEN = re.compile(r"[!-~]+")
STALE = "revision of auth store is old"  # users were changed since the token was given


class EtcdRefused(ServerError):
    """etcd answered, and not what was asked for; `code` is gRPC's (7: no permission, 8: no space)."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code

    @property
    def elsewhere(self) -> bool:
        """Whether another server may well do it."""
        return self.code in (DEADLINE, UNAVAILABLE)

    @property
    def needs_login(self) -> bool:
        """Whether the token is no good any more: they live for five minutes."""
        return self.code == UNAUTHENTICATED or STALE in str(self)


class Etcd:
    """One cluster: *servers* by the addresses for clients; *timeout* seconds for each request and server."""

    def __init__(
        self,
        servers: Sequence[Address],
        timeout: float,
        *,
        user: str = "",
        password: str = "",
        tls: ClientTls | None = None,
    ) -> None:
        self.timeout = timeout
        self._servers = list(servers)
        self._user = user
        self._password = password
        self._tls = tls
        self._token = ""

    async def ask(self, method: str, body: Mapping[str, Any]) -> Json:
        """The answer to ``POST /v3/METHOD``, of the first server that gives one.

        Raises EtcdRefused, and ConnectFailed with what is the matter with each server.
        """
        failures: list[str] = []
        for server in list(self._servers):
            try:
                answer = await self._ask_one(server, method, body)
            except EtcdRefused as error:
                if not error.elsewhere:
                    raise EtcdRefused(f"etcd at {server}: {error}", error.code) from None
                failures.append(f"{server}: {error}")
            except (ServerError, Exhausted) as error:
                failures.append(str(error))
            else:
                self._servers.remove(server)
                self._servers.insert(0, server)
                return answer
        raise ConnectFailed(f"etcd does not answer: {'; '.join(failures)}")

    async def _ask_one(self, server: Address, method: str, body: Mapping[str, Any]) -> Json:
        try:
            async with asyncio.timeout(self.timeout):
                await self._log_in(server)
                try:
                    return await self._post(server, method, body)
                except EtcdRefused as error:
                    if not self._user or not error.needs_login:
                        raise
                self._token = ""
                await self._log_in(server)
                return await self._post(server, method, body)
        except TimeoutError:
            raise ServerTimeout(f"{server}: no answer within {self.timeout:g} s") from None

    async def _log_in(self, server: Address) -> None:
        if self._user and not self._token:
            login = {"name": self._user, "password": self._password}
            token = (await self._post(server, "auth/authenticate", login)).get("token")
            if not isinstance(token, str) or not _TOKEN.fullmatch(token):
                raise BadResponse(f"{server}: what it gave for the password is no token")
            self._token = token

    async def _post(self, server: Address, method: str, body: Mapping[str, Any]) -> Json:
        status, data = await self._exchange(server, f"/v3/{method}".encode(), json.dumps(body).encode())
        answer = _parsed(server, status, data)
        # A stream's single message is wrapped (lease/keepalive), and so is its error.
        inner = answer.get("error", answer.get("result", answer))
        if status == 200 and "error" not in answer and isinstance(inner, dict):
            return inner
        told = inner if isinstance(inner, dict) else answer
        text = str(told.get("message") or told.get("error") or f"status {status}")
        code = told.get("code", told.get("grpc_code"))
        text = shown(text.removeprefix("etcdserver: "), MOST_TOLD)
        if isinstance(code, int):
            raise EtcdRefused(text, code)
        raise EtcdRefused(text, UNAVAILABLE if status >= PROXY_FAILED else 0)

    async def _exchange(self, server: Address, target: bytes, data: bytes) -> tuple[int, bytes]:
        reader, writer = await self._connect(server)
        try:
            engine = ClientEngine()
            writer.write(
                engine.request("POST", target, self._fields(server, data)) + engine.body(data) + engine.end()
            )
            return await self._answer(server, engine, reader)
        except OSError as error:
            raise ConnectFailed(f"{server}: connection lost: {error.strerror or error}".lower()) from None
        except BadResponse as error:
            raise BadResponse(f"{server}: the answer is not HTTP: {error}") from None
        finally:
            writer.transport.abort()

    async def _connect(self, server: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = await connect(server, timeout=0)
        try:
            return await self._opened(sock, server)
        except BaseException:
            sock.close()
            raise

    async def _opened(
        self, sock: socket.socket, server: Address
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._tls is None:
            return await asyncio.open_connection(sock=sock, limit=READ)
        name = self._tls.name_of(server)
        try:
            return await asyncio.open_connection(
                sock=sock, ssl=self._tls.context, server_hostname=name, limit=READ
            )
        except (OSError, ValueError, EOFError) as error:  # ValueError: a name that TLS cannot have
            raise ConnectFailed(f"{server}: {why_not_secured(error)}") from None

    async def _answer(
        self, server: Address, engine: ClientEngine, reader: asyncio.StreamReader
    ) -> tuple[int, bytes]:
        status, body = 0, b""
        while True:
            event = engine.next_event()
            if event is None:
                data = await reader.read(READ)
                if not data and engine.is_untouched:
                    hint = "" if self._tls else " (does it want TLS?)"
                    raise ConnectFailed(f"{server}: closed without an answer{hint}")
                engine.receive(data)
            elif isinstance(event, Response):
                status = event.status
            elif isinstance(event, Body):
                body += event.data
                if len(body) > MOST:
                    raise BadResponse("longer than any answer of etcd")
            elif isinstance(event, End):
                return status, body

    def _fields(self, server: Address, data: bytes) -> Headers:
        fields = [
            (b"Host", str(server).encode()),
            (b"Content-Type", b"application/json"),
            (b"Content-Length", str(len(data)).encode()),
            (b"Connection", b"close"),
        ]
        if self._token:
            fields.append((b"Authorization", self._token.encode()))
        return fields


def _parsed(server: Address, status: int, data: bytes) -> Json:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        hint = " (it wants TLS)" if b"HTTPS server" in data else ""
        raise BadResponse(f"{server}: does not speak etcd's JSON API: status {status}{hint}")
    return answer


def encoded(text: str) -> str:
    """A key or value as the gateway takes it."""
    return base64.b64encode(text.encode()).decode()


def decoded(value: Any) -> str:
    """What `encoded` made, or somebody else; "" where it is nothing of that kind."""
    try:
        return base64.b64decode(str(value)).decode("utf-8", "replace")
    except (ValueError, binascii.Error):
        return ""


def shown(text: str, most: int) -> str:
    """What somebody else wrote, for a log: its first letters, and no line breaks or the like."""
    return "".join([letter if letter.isprintable() else " " for letter in text[:most]])

"""`StaticFiles`: a handler that answers from a folder.

A small file is answered from memory, within the call that brings the request (`begin`), as long as it was
compared with the disk within the last second: whoever asks for it in the second half of that has it compared
once more, in the background, so that a file that is in demand is never waited for. Rejected: inotify, which
says nothing of network file systems and needs a watch for each folder of a tree.

All other file operations run in threads (`on_disk`): a cold disk must not hold up other clients. A large
file is sent by the kernel (`Exchange.write_file`).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from lbkit.errors import ClientError
from lbkit.exchange import Exchange, FilePart, Work
from lbkit.exchange.disk import on_disk
from lbkit.http.messages import Headers, Request, get_all
from lbkit.http.plain import Trait
from lbkit.http.status import wants_json
from lbkit.http.targets import quote_path
from lbkit.static.cache import Cache, Ready
from lbkit.static.finder import Finder, Found
from lbkit.static.listing import Entry, as_html, as_json
from lbkit.static.reply import Reply, Version, reply_to
from lbkit.static.settings import StaticSettings
from lbkit.static.tree import Tree

__all__ = ["StaticFiles"]

_FRESH = 1.0
"""Seconds for which memory is believed without a look at the disk."""
_ALLOW: Headers = [(b"Allow", b"GET, HEAD, OPTIONS")]
_LENGTH = int(Trait.CONTENT_LENGTH)
_SPECIAL = frozenset(
    {b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)
"""Fields by which the answer is anything but the whole file."""


class StaticFiles:
    """Answers GET and HEAD from the files below *root*; other methods get 405.

    A folder is answered with its index, after a redirect to its address with a slash. Hidden files,
    links that lead out of the root, and whatever is no regular file are not there (404).
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        strip_prefix: str = "",
        settings: StaticSettings | None = None,
        cache: Cache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*strip_prefix* is the part of the path that stands for *root*, such as ``/static/``.

        Raises ConfigError when *root* is not a folder.
        """
        settings = settings or StaticSettings()
        self._prefix = strip_prefix.rstrip("/").encode()
        self._finder = Finder(Tree(root), self._prefix, settings, clock)
        self._has_page = bool(settings.not_found)
        self._cache = Cache() if cache is None else cache
        self._clock = clock
        self._rng = random.SystemRandom()

    # ---- from memory ----

    def begin(self, exchange: Exchange) -> Work | None:
        """See `PromptHandler.begin`."""
        request = exchange.request
        if request.method in ("GET", "HEAD"):
            ready = self.at_hand(request.path)
            if ready is not None:
                return self._answer_ready(exchange, ready)
        return partial(self, exchange)

    def at_hand(self, path: bytes) -> Ready | None:
        """What is in memory of *path* and may be believed."""
        ready = self._cache.get(path)
        if ready is None:
            return None
        age = self._clock() - ready.checked_at
        if age >= _FRESH:
            return None
        if age > _FRESH / 2 and not ready.is_in_check:
            self._check(path, ready)
        return ready

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock()

    @staticmethod
    def is_special(request: Request) -> bool:
        """Whether the answer to *request* may be another than the whole file."""
        return any(name.lower() in _SPECIAL for name, _ in request.headers)

    @staticmethod
    def accepted(request: Request) -> bytes | None:
        """The field Accept-Encoding of *request*."""
        values = get_all(request.headers, b"accept-encoding")
        return b",".join(values) if values else None

    def _answer_ready(self, exchange: Exchange, ready: Ready) -> Work | None:
        request = exchange.request
        if ready.codings:
            ready = ready.choose(self.accepted(request))
        if not self.is_special(request):
            body = ready.body if request.method == "GET" else b""
            if not exchange.pass_whole(200, ready.lines, _LENGTH, body):
                exchange.send_whole(200, ready.headers, ready.body)
            return None
        return self._answer_special(exchange, request, ready.version, ready.body)

    def _answer_special(
        self, exchange: Exchange, request: Request, version: Version, data: bytes
    ) -> Work | None:
        reply = reply_to(request, version, _epoch(), self._rng)
        if reply.is_error:
            return partial(exchange.respond_error, reply.status, reply.headers)
        pieces = (
            piece if isinstance(piece, bytes) else data[piece.start : piece.stop] for piece in reply.body
        )
        exchange.send_whole(reply.status, reply.headers, b"".join(pieces))
        return None

    def _check(self, path: bytes, ready: Ready) -> None:
        """Compare *ready* with the disk, in the background."""
        ready.is_in_check = True
        checking = on_disk(self._look_again, path, ready)
        checking.add_done_callback(partial(self._checked, path, ready))

    def _look_again(self, path: bytes, ready: Ready) -> Ready | None:
        """Runs in a thread. Raises as `Finder.find`."""
        found = self._finder.find(path, None, ready)
        found.close()
        return found.ready

    def _checked(self, path: bytes, before: Ready, checking: asyncio.Future[Ready | None]) -> None:
        before.is_in_check = False
        if self._cache.get(path) is not before:
            return
        if checking.cancelled() or checking.exception() is not None or (ready := checking.result()) is None:
            self._cache.drop(path)  # whoever asks next is told why
        elif ready is not before:
            self._cache.put(path, ready)

    # ---- from the disk ----

    async def __call__(self, exchange: Exchange) -> None:
        """Answer *exchange*; raises ClientError for what cannot be served."""
        request = exchange.request
        if request.method not in ("GET", "HEAD"):
            await self._answer_other(exchange)
        else:
            await self.answer(exchange, request)

    async def answer(self, exchange: Exchange, request: Request, kept: Headers | None = None) -> None:
        """Answer *exchange* with what *request*, a GET or HEAD, leads to; raises ClientError.

        *kept* are fields of another answer that this one takes the place of; a folder is not sent to its
        address with a slash then, for that is not the client's address.
        """
        try:
            found = await self._open(request)
        except ClientError as error:
            page = None
            if error.status == 404 and self._has_page:
                page = await on_disk(self._finder.page)
            if page is None:
                raise
            await exchange.respond(404, [(b"Content-Type", page[0])], page[1])
            return
        if found.ready is not None:
            if self._cache.get(request.path) is not found.ready:
                self._cache.put(request.path, found.ready)
            if kept is None:
                work = self._answer_ready(exchange, found.ready)
            else:
                ready = found.ready.choose(self.accepted(request))
                work = self._answer_special(exchange, request, ready.version.said_by(kept), ready.body)
            if work is not None:
                await work()
        elif found.entries is not None:
            await self._answer_list(exchange, request, found.entries)
        elif found.version is None:
            if kept is not None:
                raise ClientError("a folder, and no file", 404)
            await exchange.respond(301, [(b"Location", _with_slash(request))])
        else:
            version = found.version if kept is None else found.version.said_by(kept)
            try:
                await self._answer_open(exchange, request, found, version)
            finally:
                found.close()

    async def _answer_other(self, exchange: Exchange) -> None:
        if exchange.request.method == "OPTIONS":
            await exchange.respond(204, list(_ALLOW))
        else:
            await exchange.respond_error(405, _ALLOW)

    async def _answer_list(self, exchange: Exchange, request: Request, entries: list[Entry]) -> None:
        kind, body = b"application/json", b""
        if wants_json(request.headers):
            body = as_json(entries)
        else:
            kind = b"text/html; charset=utf-8"
            body = as_html(request.path, entries, is_root=request.path == self._prefix + b"/")
        fields: Headers = [(b"Content-Type", kind), (b"Vary", b"Accept"), (b"Cache-Control", b"no-cache")]
        await exchange.respond(200, fields, body)

    async def _answer_open(
        self, exchange: Exchange, request: Request, found: Found, version: Version
    ) -> None:
        reply = reply_to(request, version, _epoch(), self._rng)
        if reply.is_error:
            await exchange.respond_error(reply.status, reply.headers)
        elif not reply.body or request.method == "HEAD":
            await exchange.respond(reply.status, reply.headers)
        else:
            await _send(exchange, reply, found)

    async def _open(self, request: Request) -> Found:
        before = self._cache.get(request.path)
        opening = on_disk(self._finder.find, request.path, self.accepted(request), before)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_found)  # nothing stops the thread, and it opens the file
            raise
        except (ClientError, OSError):
            self._cache.drop(request.path)
            raise


def _epoch() -> float:
    return datetime.now(UTC).timestamp()


def _close_found(opening: asyncio.Future[Found]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _with_slash(request: Request) -> bytes:
    location = quote_path(request.path) + b"/"
    return location + b"?" + request.target.query if request.target.has_query else location


async def _send(exchange: Exchange, reply: Reply, found: Found) -> None:
    assert found.status is not None
    await exchange.start(reply.status, reply.headers)
    for piece in reply.body:
        if isinstance(piece, bytes):
            await exchange.write(piece)
        else:
            await exchange.write_file(FilePart(found.descriptor, piece.start, piece.stop, found.status))
    await exchange.end()

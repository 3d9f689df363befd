"""`StaticFiles`: a handler that answers from a folder.

A small file is answered from memory, within the call that brings the request (`begin`), as long as it was
compared with the disk within the last second: whoever asks for it in the second half of that has it compared
once more, in the background, so that a file that is in demand is never waited for. Rejected: inotify, which
says nothing of network file systems and needs a watch for each folder of a tree.

All other file operations run in the event loop's threads: a cold disk must not hold up other clients. A large
file is sent by the kernel (`Exchange.write_file`).
"""

from __future__ import annotations

import asyncio
import os
import random
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from lbkit.errors import ClientError
from lbkit.exchange import Exchange, FilePart, Work
from lbkit.http.messages import Headers, Request
from lbkit.http.plain import Trait
from lbkit.http.targets import quote_path
from lbkit.static.cache import Cache, Ready, Signature
from lbkit.static.content_types import content_type
from lbkit.static.reply import Reply, Version, reply_to
from lbkit.static.tree import Tree

__all__ = ["StaticFiles"]

_SMALL = 64 * 1024
"""Bytes of a file that is answered from memory."""
_FRESH = 1.0
"""Seconds for which memory is believed without a look at the disk."""
_SETTLED = 50_000_000
"""Nanoseconds after which another change of a file shows in its times: several ticks of a kernel's clock."""
_ALLOW: Headers = [(b"Allow", b"GET, HEAD, OPTIONS")]
_LENGTH = int(Trait.CONTENT_LENGTH)
_SPECIAL = frozenset(
    {b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)
"""Fields by which the answer is anything but the whole file."""


class _Found:
    """A file, `ready` in memory or open as `descriptor`; where neither, a folder whose address lacks a slash."""

    __slots__ = ("descriptor", "ready", "status", "version")

    def __init__(self, version: Version | None = None, ready: Ready | None = None) -> None:
        self.version = version
        self.ready = ready
        self.descriptor = -1
        self.status: os.stat_result | None = None


class StaticFiles:
    """Answers GET and HEAD from the files below *root*; other methods get 405.

    A folder is answered with its `index`, after a redirect to its address with a slash. Hidden files,
    links that lead out of the root, and whatever is no regular file are not there (404).
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        strip_prefix: str = "",
        index: str = "index.html",
        cache: Cache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*strip_prefix* is the part of the path that stands for *root*, such as ``/static/``.

        Raises ConfigError when *root* is not a folder.
        """
        self._tree = Tree(root)
        self._prefix = strip_prefix.rstrip("/").encode()
        self._index = index.encode()
        self._cache = Cache() if cache is None else cache
        self._clock = clock
        self._rng = random.SystemRandom()

    # ---- from memory ----

    def begin(self, exchange: Exchange) -> Work | None:
        """See `PromptHandler.begin`."""
        request = exchange.request
        if request.method in ("GET", "HEAD"):
            ready = self._cache.get(request.path)
            if ready is not None:
                age = self._clock() - ready.checked_at
                if age < _FRESH:
                    if age > _FRESH / 2 and not ready.is_in_check:
                        self._check(request.path, ready)
                    return self._answer_ready(exchange, ready)
        return partial(self, exchange)

    def _answer_ready(self, exchange: Exchange, ready: Ready) -> Work | None:
        request = exchange.request
        for name, _ in request.headers:
            if name.lower() in _SPECIAL:
                break
        else:
            body = ready.body if request.method == "GET" else b""
            if not exchange.pass_whole(200, ready.lines, _LENGTH, body):
                exchange.send_whole(200, ready.headers, ready.body)
            return None
        reply = reply_to(request, ready.version, _epoch(), self._rng)
        if reply.is_error:
            return partial(exchange.respond_error, reply.status, reply.headers)
        pieces = (
            piece if isinstance(piece, bytes) else ready.body[piece.start : piece.stop]
            for piece in reply.body
        )
        exchange.send_whole(reply.status, reply.headers, b"".join(pieces))
        return None

    def _check(self, path: bytes, ready: Ready) -> None:
        """Compare *ready* with the disk, in the background."""
        ready.is_in_check = True
        checking = asyncio.get_running_loop().run_in_executor(None, self._look_again, path, ready)
        checking.add_done_callback(partial(self._checked, path, ready))

    def _look_again(self, path: bytes, ready: Ready) -> Ready | None:
        """Runs in a thread. Raises as `_find`."""
        found = self._find(path, ready)
        if found.descriptor >= 0:
            os.close(found.descriptor)
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
            return
        found = await self._open(request)
        if found.ready is not None:
            if self._cache.get(request.path) is not found.ready:
                self._cache.put(request.path, found.ready)
            work = self._answer_ready(exchange, found.ready)
            if work is not None:
                await work()
        elif found.version is None:
            await exchange.respond(301, [(b"Location", _with_slash(request))])
        else:
            try:
                await self._answer_open(exchange, found, found.version)
            finally:
                os.close(found.descriptor)

    async def _answer_other(self, exchange: Exchange) -> None:
        if exchange.request.method == "OPTIONS":
            await exchange.respond(204, list(_ALLOW))
        else:
            await exchange.respond_error(405, _ALLOW)

    async def _answer_open(self, exchange: Exchange, found: _Found, version: Version) -> None:
        reply = reply_to(exchange.request, version, _epoch(), self._rng)
        if reply.is_error:
            await exchange.respond_error(reply.status, reply.headers)
        elif not reply.body or exchange.request.method == "HEAD":
            await exchange.respond(reply.status, reply.headers)
        else:
            await _send(exchange, reply, found)

    async def _open(self, request: Request) -> _Found:
        before = self._cache.get(request.path)
        opening = asyncio.ensure_future(asyncio.to_thread(self._find, request.path, before))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_found)  # nothing stops the thread, and it opens the file
            raise
        except (ClientError, OSError):
            self._cache.drop(request.path)
            raise

    def _find(self, path: bytes, before: Ready | None) -> _Found:
        """What *path* leads to; *before* is what was kept of it. Runs in a thread.

        Raises ClientError for what is not there, OSError for what the machine cannot do.
        """
        names = self._names(path)
        is_folder = path.endswith(b"/")
        if is_folder:
            names.append(self._index)
        now = self._clock()
        descriptor = self._tree.open(names)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                if is_folder:
                    raise ClientError("the index is no file", 404)
                found = _Found()
            else:
                found = self._file(descriptor, names[-1], status, before, now)
        except BaseException:
            os.close(descriptor)
            raise
        if found.descriptor < 0:
            os.close(descriptor)
        return found

    def _file(
        self, descriptor: int, name: bytes, status: os.stat_result, before: Ready | None, now: float
    ) -> _Found:
        signature = _signature(status)
        if before is not None and before.signature == signature:
            before.checked_at = now
            return _Found(before.version, before)
        if status.st_size <= _SMALL:
            body = os.pread(descriptor, status.st_size, 0) if status.st_size else b""
            status = os.fstat(descriptor)
            if len(body) == status.st_size and _signature(status) == signature:
                is_settled = _epoch() * 1e9 - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED
                version = _version(status, name)
                return _Found(version, Ready(version, body, signature if is_settled else None, now))
        found = _Found(_version(status, name))
        found.descriptor, found.status = descriptor, status
        return found

    def _names(self, path: bytes) -> list[bytes]:
        if path != self._prefix and not path.startswith(self._prefix + b"/"):
            raise ClientError("outside of the prefix", 404)
        return [name for name in path[len(self._prefix) :].split(b"/") if name]


def _version(status: os.stat_result, name: bytes) -> Version:
    return Version(status.st_size, status.st_mtime_ns, content_type(name))


def _signature(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _epoch() -> float:
    return datetime.now(UTC).timestamp()


def _close_found(opening: asyncio.Future[_Found]) -> None:
    if not opening.cancelled() and opening.exception() is None and opening.result().descriptor >= 0:
        os.close(opening.result().descriptor)


def _with_slash(request: Request) -> bytes:
    location = quote_path(request.path) + b"/"
    return location + b"?" + request.target.query if request.target.has_query else location


async def _send(exchange: Exchange, reply: Reply, found: _Found) -> None:
    assert found.status is not None
    await exchange.start(reply.status, reply.headers)
    for piece in reply.body:
        if isinstance(piece, bytes):
            await exchange.write(piece)
        else:
            await exchange.write_file(FilePart(found.descriptor, piece.start, piece.stop, found.status))
    await exchange.end()

"""`StaticFiles`: a handler that answers from a folder.

All file operations run in the event loop's threads: a cold disk must not hold up other clients. A file
is sent in chunks that are read one at a time while the client takes the one before, so memory is
bounded by the chunk whatever the size of the file.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime

from lbkit.errors import ClientError
from lbkit.exchange import Exchange
from lbkit.http.conditional import Validators, evaluate, range_applies
from lbkit.http.dates import format_date
from lbkit.http.messages import Headers, Request
from lbkit.http.ranges import ByteRange, parse_range
from lbkit.http.targets import quote_path
from lbkit.static.content_types import content_type
from lbkit.static.tree import Tree

__all__ = ["StaticFiles"]

_CHUNK = 256 * 1024
_ALLOW: Headers = [(b"Allow", b"GET, HEAD, OPTIONS")]


@dataclass(slots=True)
class _Found:
    """An open file, or a folder (`descriptor` -1) whose address lacks the final slash."""

    descriptor: int
    name: bytes = b""
    size: int = 0
    mtime_ns: int = 0
    first: bytes = b""
    """The file's first bytes, read along with opening it."""

    @property
    def validators(self) -> Validators:
        return Validators(b'"%x-%x"' % (self.mtime_ns, self.size), self.mtime_ns // 1_000_000_000)


class StaticFiles:
    """Answers GET and HEAD from the files below *root*; other methods get 405.

    A folder is answered with its `index`, after a redirect to its address with a slash. Hidden files,
    links that lead out of the root, and whatever is no regular file are not there (404).
    """

    def __init__(
        self, root: str | os.PathLike[str], *, strip_prefix: str = "", index: str = "index.html"
    ) -> None:
        """*strip_prefix* is the part of the path that stands for *root*, such as ``/static/``.

        Raises ConfigError when *root* is not a folder.
        """
        self._tree = Tree(root)
        self._prefix = strip_prefix.rstrip("/").encode()
        self._index = index.encode()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer *exchange*; raises ClientError for what cannot be served."""
        request = exchange.request
        if request.method not in ("GET", "HEAD"):
            await self._answer_other(exchange)
            return
        found = await self._open(request)
        if found.descriptor < 0:
            await exchange.respond(301, [(b"Location", _with_slash(request))])
            return
        try:
            await _answer(exchange, found)
        finally:
            os.close(found.descriptor)

    async def _answer_other(self, exchange: Exchange) -> None:
        if exchange.request.method == "OPTIONS":
            await exchange.respond(204, list(_ALLOW))
        else:
            await exchange.respond_error(405, _ALLOW)

    async def _open(self, request: Request) -> _Found:
        opening = asyncio.ensure_future(asyncio.to_thread(self._find, request.path, request.method == "GET"))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_found)  # nothing stops the thread, and it opens the file
            raise

    def _find(self, path: bytes, with_body: bool) -> _Found:
        """Runs in a thread."""
        names = self._names(path)
        is_folder = path.endswith(b"/")
        if is_folder:
            names.append(self._index)
        descriptor = self._tree.open(names)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISDIR(status.st_mode):
                return _found(descriptor, names[-1], status, with_body)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if is_folder:
            raise ClientError("the index is no file", 404)
        return _Found(-1)

    def _names(self, path: bytes) -> list[bytes]:
        if path != self._prefix and not path.startswith(self._prefix + b"/"):
            raise ClientError("outside of the prefix", 404)
        return [name for name in path[len(self._prefix) :].split(b"/") if name]


def _found(descriptor: int, name: bytes, status: os.stat_result, with_body: bool) -> _Found:
    first = os.pread(descriptor, min(_CHUNK, status.st_size), 0) if with_body and status.st_size else b""
    return _Found(descriptor, name, status.st_size, status.st_mtime_ns, first)


def _close_found(opening: asyncio.Future[_Found]) -> None:
    if not opening.cancelled() and opening.exception() is None and opening.result().descriptor >= 0:
        os.close(opening.result().descriptor)


def _with_slash(request: Request) -> bytes:
    location = quote_path(request.path) + b"/"
    return location + b"?" + request.target.query if request.target.has_query else location


async def _answer(exchange: Exchange, found: _Found) -> None:
    request, validators = exchange.request, found.validators
    now = datetime.now(UTC).timestamp()
    headers: Headers = [
        (b"ETag", validators.etag),
        (b"Last-Modified", format_date(validators.modified)),
    ]
    status = evaluate(request.method, request.headers, validators, now)
    if status == 304:
        await exchange.respond(304, headers)
        return
    if status != 200:
        await exchange.respond_error(status)
        return
    headers += [(b"Content-Type", content_type(found.name)), (b"Accept-Ranges", b"bytes")]
    wanted = _wanted_range(request, found, now)
    if wanted is None:
        await _send(exchange, 200, headers, found, ByteRange(0, found.size))
    elif not len(wanted):
        await exchange.respond_error(416, [(b"Content-Range", wanted.content_range(found.size))])
    else:
        headers.append((b"Content-Range", wanted.content_range(found.size)))
        await _send(exchange, 206, headers, found, wanted)


def _wanted_range(request: Request, found: _Found, now: float) -> ByteRange | None:
    field = request.get(b"range")
    if field is None or request.method != "GET" or not range_applies(request.headers, found.validators, now):
        return None  # RFC 9110 §14.2: a Range counts for GET only
    return parse_range(field, found.size)


async def _send(exchange: Exchange, status: int, headers: Headers, found: _Found, part: ByteRange) -> None:
    headers.append((b"Content-Length", b"%d" % len(part)))
    data = found.first[part.start : part.stop]
    if len(data) == len(part) or exchange.request.method == "HEAD":
        await exchange.respond(status, headers, data)
        return
    await exchange.start(status, headers)
    position = part.start
    while position < part.stop:
        if not data:
            size = min(_CHUNK, part.stop - position)
            data = await asyncio.to_thread(os.pread, found.descriptor, size, position)
        if not data:
            exchange.abort()  # the file became shorter: no response may look complete that is not
            return
        await exchange.write(data)
        position += len(data)
        data = b""
    await exchange.end()

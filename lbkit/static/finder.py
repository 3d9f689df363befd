"""`Finder`: from a path to what is there. All of it may wait for the disk, and belongs into a thread.

A small file is read whole, with what stands in for it: the files with ``.br``, ``.zst`` and ``.gz`` behind
its name, and where there is no ``.gz``, text that is compressed here. Of a large one only that version is
opened which the client takes. Pictures and archives have no stand-ins, and one that is older than its file is
stale and passed over.
"""

from __future__ import annotations

import fnmatch
import gzip
import os
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from lbkit.errors import ClientError
from lbkit.http.codings import choose_coding
from lbkit.static.cache import Ready
from lbkit.static.content_types import content_type, is_compressible
from lbkit.static.listing import Entry
from lbkit.static.reply import Version
from lbkit.static.settings import CODINGS, StaticSettings
from lbkit.static.tree import Tree

__all__ = ["Finder", "Found"]

SMALL = 64 * 1024
"""Bytes of a file that is kept in memory."""
_WORTH_GZIP = 1024
_MOST_GZIP = 1024 * 1024
_LARGEST_PAGE = 1024 * 1024
_SETTLED = 50_000_000
"""Nanoseconds after which another change of a file shows in its times: several ticks of a kernel's clock."""
_PATH = b"${path}"
_VARY = (b"Vary", b"Accept-Encoding")


class Found:
    """A file, `ready` in memory or open as `descriptor`; `entries` of a folder; else a folder that is asked
    for without a slash."""

    __slots__ = ("descriptor", "entries", "ready", "status", "version")

    def __init__(
        self,
        version: Version | None = None,
        ready: Ready | None = None,
        entries: list[Entry] | None = None,
        descriptor: int = -1,
        status: os.stat_result | None = None,
    ) -> None:
        self.version = version
        self.ready = ready
        self.entries = entries
        self.descriptor = descriptor
        self.status = status

    def close(self) -> None:
        """Close the file where it is open."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Finder:
    """Finds files below *tree* for the paths below *prefix*."""

    def __init__(
        self, tree: Tree, prefix: bytes, settings: StaticSettings, clock: Callable[[], float]
    ) -> None:
        self._tree = tree
        self._prefix = prefix
        self._settings = settings
        self._clock = clock
        self._indexes = [os.fsencode(name) for name in settings.index]
        self._candidates = [os.fsencode(path) for path in settings.try_files]
        self._rules = [
            (re.compile(fnmatch.translate(pattern).encode()), value.encode())
            for pattern, value in settings.cache_control
        ]

    def find(self, path: bytes, accept: bytes | None, before: Ready | None) -> Found:
        """What *path* leads to, for a client with the field Accept-Encoding *accept*; *before* is what is
        kept of it.

        Raises ClientError for what is not there, OSError for what the machine cannot do.
        """
        if path != self._prefix and not path.startswith(self._prefix + b"/"):
            raise ClientError("outside of the prefix", 404)
        inner = path[len(self._prefix) :] or b""
        if not self._candidates:
            return self._at(inner, inner, accept, before)
        for candidate in self._candidates:
            if candidate.startswith(b"="):
                break
            try:
                found = self._at(candidate.replace(_PATH, inner), inner, accept, before)
            except ClientError as error:
                if error.status != 404:
                    raise
            else:
                return found
        status = int(candidate[1:]) if candidate.startswith(b"=") else 404
        raise ClientError("nothing of what was tried is there", status)

    def page(self) -> tuple[bytes, bytes] | None:
        """Content type and text of the page for a 404; None where there is none."""
        names = _names(os.fsencode(self._settings.not_found))
        if not names:
            return None
        try:
            found = self._file_at(names, None, None)
        except (ClientError, OSError):
            return None
        try:
            if found.ready is not None:
                return found.ready.version.content_type, found.ready.body
            assert found.version is not None
            return found.version.content_type, os.pread(found.descriptor, _LARGEST_PAGE, 0)
        finally:
            found.close()

    def _at(self, candidate: bytes, asked: bytes, accept: bytes | None, before: Ready | None) -> Found:
        names = _names(candidate)
        if candidate.endswith(b"/"):
            found = self._folder_at(names, accept, before)
            # Of what is tried, only a folder under its own name is shown under another address.
            if not asked.endswith(b"/") and _names(asked) == names:
                found.close()
                return Found()
            return found
        try:
            return self._file_at(names, accept, before)
        except IsADirectoryError:
            if self._candidates:
                raise ClientError("a folder, and no file", 404) from None
            return Found()

    def _folder_at(self, names: list[bytes], accept: bytes | None, before: Ready | None) -> Found:
        for index in self._indexes:
            try:
                return self._file_at([*names, index], accept, before)
            except IsADirectoryError:
                continue
            except ClientError as error:
                if error.status != 404:
                    raise
        if self._settings.autoindex:
            return Found(entries=self._tree.entries(names))
        raise ClientError("no index is there", 404)

    def _file_at(self, names: list[bytes], accept: bytes | None, before: Ready | None) -> Found:
        """Raises IsADirectoryError for a folder, and as `find`."""
        now = self._clock()
        opened = {b"": self._tree.open(names)}
        chosen = None
        try:
            status = os.fstat(opened[b""])
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError
            statuses = {b"": status}
            if self._settings.precompressed and is_compressible(content_type(names[-1])):
                self._open_stand_ins(names, opened, statuses)
            signature = tuple(_identity(one) for one in statuses.values())
            if before is not None and before.signature == signature:
                before.checked_at = now
                return Found(before.version, before)
            plain = self._version(names, status, len(statuses) > 1)
            if status.st_size <= SMALL or self._may_gzip(plain):
                ready = self._read(plain, opened, statuses, now)
                if ready is not None:
                    return Found(ready.version, ready)
            chosen = choose_coding(accept, tuple(statuses)[1:])
            version = _coded(plain, chosen, statuses[chosen]) if chosen else plain
            return Found(version, descriptor=opened[chosen], status=statuses[chosen])
        finally:
            for coding, descriptor in opened.items():
                if coding != chosen:
                    os.close(descriptor)

    def _open_stand_ins(
        self, names: list[bytes], opened: dict[bytes, int], statuses: dict[bytes, os.stat_result]
    ) -> None:
        plain = statuses[b""]
        for coding, ending in CODINGS.items():
            try:
                descriptor = self._tree.open([*names[:-1], names[-1] + ending])
            except (ClientError, OSError):
                continue
            opened[coding] = descriptor
            status = os.fstat(descriptor)
            is_use = stat.S_ISREG(status.st_mode) and 0 < status.st_size < plain.st_size
            if is_use and status.st_mtime_ns >= plain.st_mtime_ns // 10**9 * 10**9:  # gzip keeps seconds
                statuses[coding] = status

    def _version(self, names: list[bytes], status: os.stat_result, has_stand_ins: bool) -> Version:
        media_type = content_type(names[-1])
        path = b"/" + b"/".join(names)
        fields = tuple(
            (b"Cache-Control", value) for pattern, value in self._rules if pattern.fullmatch(path)
        )[:1]
        version = Version(status.st_size, status.st_mtime_ns, media_type, fields)
        if has_stand_ins or self._may_gzip(version):
            version = replace(version, fields=(*fields, _VARY))
        return version

    def _may_gzip(self, version: Version) -> bool:
        is_worth = _WORTH_GZIP <= version.size <= _MOST_GZIP
        return self._settings.gzip and is_worth and is_compressible(version.content_type)

    def _read(
        self, plain: Version, opened: dict[bytes, int], statuses: dict[bytes, os.stat_result], now: float
    ) -> Ready | None:
        """All of a small file; None where it changes meanwhile."""
        bodies = {coding: _whole(opened[coding], status.st_size) for coding, status in statuses.items()}
        after = [os.fstat(opened[coding]) for coding in statuses]
        signature = tuple(_identity(one) for one in after)
        before = tuple(_identity(one) for one in statuses.values())
        if signature != before or any(len(bodies[name]) != one.st_size for name, one in statuses.items()):
            return None
        codings = {
            coding: Ready(_coded(plain, coding, statuses[coding]), body)
            for coding, body in bodies.items()
            if coding
        }
        if b"gzip" not in codings and self._may_gzip(plain):
            body = gzip.compress(bodies[b""], 6, mtime=0)
            if len(body) < plain.size:
                coded = replace(plain, size=len(body), mark=b"-gzip", fields=_with_coding(plain, b"gzip"))
                codings[b"gzip"] = Ready(coded, body)
        latest = max(max(one.st_mtime_ns, one.st_ctime_ns) for one in after)
        is_settled = datetime.now(UTC).timestamp() * 1e9 - latest > _SETTLED
        return Ready(plain, bodies[b""], signature if is_settled else None, now, codings)


def _coded(plain: Version, coding: bytes, status: os.stat_result) -> Version:
    return Version(
        status.st_size, status.st_mtime_ns, plain.content_type, _with_coding(plain, coding), b"-" + coding
    )


def _with_coding(plain: Version, coding: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return *plain.fields, (b"Content-Encoding", coding)


def _whole(descriptor: int, size: int) -> bytes:
    return os.pread(descriptor, size, 0) if size else b""


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name]


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

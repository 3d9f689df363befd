"""Opening files below a root, with no way out of it.

The path is walked one name at a time from the root's descriptor: each name is opened relative to the
folder before it and never through a symbolic link. Links are read and followed here, by hand, so that
one that leads out of the root is refused while others work. What was checked is what was opened:
there is no moment at which somebody who may write in the folder could exchange one for the other.

Rejected: realpath first, open afterwards (such a moment), and openat2 with RESOLVE_BENEATH (Linux
only, and the standard library lacks it).
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from lbkit.errors import ClientError, ConfigError, Exhausted
from lbkit.static.listing import Entry

__all__ = ["MOST_ENTRIES", "Tree"]

MOST_ENTRIES = 10_000
"""Names in a folder that are looked at for a list."""

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# O_NONBLOCK: opening a pipe must not wait for a writer. O_NOCTTY: nor make a terminal ours.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MAX_LINKS = 40  # as the Linux kernel (path_resolution(7))

_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL}


class Tree:
    """The files below one folder."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Raises ConfigError when *root* is not a folder."""
        self.root = os.fspath(root)
        if not Path(self.root).is_dir():
            raise ConfigError(f'"{self.root}" is not a folder')

    def open(self, names: Iterable[bytes]) -> int:
        """A descriptor, to be closed by the caller, of the file or folder that *names* lead to.

        It is a regular file, or a folder opened for walking only. Raises ClientError: 404 for what is not
        there, is no file or folder, is hidden or lies outside; 403 for what may not be read.
        """
        names = list(names)
        _refuse_tricks(names)
        try:
            walk = _Walk(self.root)
        except OSError as exc:
            raise _client_error(exc) from None
        try:
            return walk.to(names)
        except OSError as exc:
            raise _client_error(exc) from None
        finally:
            walk.close()

    def entries(self, names: Iterable[bytes]) -> list[Entry]:
        """What `open` would open in the folder that *names* lead to, of its first `MOST_ENTRIES` names.

        Raises as `open`.
        """
        names = list(names)
        folder = self.open(names)
        try:
            # What was opened for walking cannot be read.
            readable = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        except OSError as exc:
            raise _client_error(exc) from None
        finally:
            os.close(folder)
        try:
            with os.scandir(readable) as found:
                found_names = [os.fsencode(one.name) for one in islice(found, MOST_ENTRIES)]
            return [
                entry for name in found_names if (entry := self._entry(readable, names, name)) is not None
            ]
        finally:
            os.close(readable)

    def _entry(self, folder: int, names: list[bytes], name: bytes) -> Entry | None:
        try:
            _refuse_tricks([*names, name])
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                descriptor = self.open([*names, name])
                try:
                    status = os.fstat(descriptor)
                finally:
                    os.close(descriptor)
        except (ClientError, OSError):
            return None
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return None
        return Entry(name, stat.S_ISDIR(status.st_mode), status.st_size, int(status.st_mtime))


class _Walk:
    """One way down: the folders passed are kept open, so that ``..`` in a link goes back by them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folders = [os.open(root, _FOLDER & ~os.O_NOFOLLOW)]
        self._links = 0

    def close(self) -> None:
        for folder in self._folders:
            os.close(folder)

    def to(self, names: Iterable[bytes]) -> int:
        rest = deque(names)
        while rest:
            name = rest.popleft()
            if name in (b"", b"."):
                continue
            if name == b"..":
                self._up()
            elif (link := self._read_link(name)) is not None:
                rest.extendleft(reversed(self._expand(link)))
            elif rest:
                self._folders.append(os.open(name, _FOLDER, dir_fd=self._folders[-1]))
            else:
                return self._open_last(name)
        return os.dup(self._folders[-1])

    def _open_last(self, name: bytes) -> int:
        descriptor = os.open(name, _FILE, dir_fd=self._folders[-1])
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return descriptor
        os.close(descriptor)
        raise ClientError("neither a file nor a folder", 404)

    def _up(self) -> None:
        if len(self._folders) == 1:
            raise ClientError("a link leads out of the root", 404)
        os.close(self._folders.pop())

    def _read_link(self, name: bytes) -> bytes | None:
        try:
            link: bytes = os.readlink(name, dir_fd=self._folders[-1])
        except OSError as exc:
            if exc.errno == errno.EINVAL:  # there, and not a link
                return None
            raise
        self._links += 1
        if self._links > _MAX_LINKS:
            raise ClientError("too many links", 404)
        return link

    def _expand(self, link: bytes) -> list[bytes]:
        if not link.startswith(b"/"):
            return link.split(b"/")
        root = os.fsencode(os.path.realpath(self._root)).rstrip(b"/")
        if link != root and not link.startswith(root + b"/"):
            raise ClientError("a link leads out of the root", 404)
        while len(self._folders) > 1:
            self._up()
        return link[len(root) :].split(b"/")


def _refuse_tricks(names: list[bytes]) -> None:
    for number, name in enumerate(names):
        # RFC 8615 puts files for the public below /.well-known, the one hidden name that is served.
        hidden = name.startswith(b".") and not (number == 0 and name == b".well-known")
        if hidden or b"\0" in name or b"\\" in name or b"/" in name:
            raise ClientError("a name that is not served", 404)


def _client_error(exc: OSError) -> ClientError:
    """What a client may know; Exhausted is raised where this process has no descriptor left, and anything
    else that is the machine's trouble as it is."""
    if exc.errno in (errno.EACCES, errno.EPERM):
        return ClientError("may not be read", 403)
    if exc.errno in _NOT_THERE:
        return ClientError("not there", 404)
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        raise Exhausted(os.strerror(exc.errno).lower()) from None
    raise exc

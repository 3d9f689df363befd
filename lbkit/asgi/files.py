"""Files that an application sends without reading them: ``http.response.pathsend`` and ``zerocopysend``.

Both become a `FilePart`, which the kernel sends where it can, and threads read where it cannot (TLS, HTTP/2,
the chunked coding). See https://asgi.readthedocs.io/en/latest/extensions.html.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from lbkit.asgi.types import Message
from lbkit.exchange.file_part import FilePart

__all__ = ["opened", "part_of"]


def opened(path: str) -> FilePart:
    """All of the file at *path*, whose descriptor is the caller's to close. May wait for the disk.

    Raises ValueError for a path that is not absolute, OSError with *path* for a file that is not there, may
    not be read, or is none.
    """
    if not Path(path).is_absolute():
        raise ValueError(f'http.response.pathsend needs an absolute path, not "{path}"')
    # Without O_NONBLOCK a pipe would be waited for until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = _regular(descriptor, path)
    except OSError:
        os.close(descriptor)
        raise
    return FilePart(descriptor, 0, status.st_size, status)


def part_of(message: Message) -> tuple[FilePart, int | None]:
    """What a ``http.response.zerocopysend`` sends, and where its file is to be read on then, None for where
    it is now.

    Without `offset` it is sent from where the file is read next, as os.sendfile does. Raises ValueError for
    bytes that there are not, OSError for what is no regular file.
    """
    file: Any = message["file"]
    offset, count = message.get("offset"), message.get("count")
    descriptor: int = file.fileno()
    status = _regular(descriptor, str(getattr(file, "name", descriptor)))
    start = file.tell() if offset is None else int(offset)
    stop = max(start, status.st_size) if count is None else start + int(count)
    if not 0 <= start <= stop or (count is not None and stop > status.st_size):
        wanted = f"{stop - start} bytes from {start} on"
        raise ValueError(f"http.response.zerocopysend: no {wanted}: the file has {status.st_size}")
    return FilePart(descriptor, start, stop, status), stop if offset is None else None


def _regular(descriptor: int, name: str) -> os.stat_result:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f'"{name}" is no regular file')
    return status

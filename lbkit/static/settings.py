"""`StaticSettings`: what a folder's files are answered with, beside themselves."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CODINGS", "StaticSettings"]

CODINGS = {b"br": b".br", b"zstd": b".zst", b"gzip": b".gz"}
"""Content codings (IANA registry) and the endings of files that hold them, best first."""


@dataclass(frozen=True, slots=True)
class StaticSettings:
    """Paths are below the folder that is served, and begin with ``/``."""

    index: tuple[str, ...] = ("index.html",)
    """What a folder is answered with: the first of these names that is there."""
    try_files: tuple[str, ...] = ()
    """Paths to try, in order, ``${path}`` being the one that was asked for; with a slash at the end a
    folder's index. The last may be ``=404`` or another status of an error. Empty for the path alone."""
    precompressed: bool = True
    """Whether a file with ``.br``, ``.zst`` or ``.gz`` behind its name stands in for it, where it is no older
    and the client takes it."""
    gzip: bool = True
    """Whether text from 1 KiB to 1 MiB is compressed here, once, and kept in memory."""
    cache_control: tuple[tuple[str, str], ...] = ()
    """Patterns of paths (``*`` is anything, also slashes) and Cache-Control: the first match counts."""
    not_found: str = ""
    """The page of a 404 in place of the server's own; empty for that."""
    autoindex: bool = False
    """Whether a folder without an index is answered with a list of what is in it, as HTML or JSON."""

"""The list of what is in a folder, as HTML for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from lbkit.http.targets import quote_path

__all__ = ["Entry", "as_html", "as_json"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ font-family: system-ui, sans-serif; margin: 2rem }} td {{ padding: .1rem 1.5rem .1rem 0 }}
td + td {{ text-align: right; font-variant-numeric: tabular-nums }}</style></head>
<body><h1>{title}</h1>
<table>
{rows}</table></body></html>
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder: `size` in bytes, `modified` in epoch seconds."""

    name: bytes
    is_folder: bool
    size: int
    modified: int


def as_html(path: bytes, entries: list[Entry], *, is_root: bool) -> bytes:
    """The page of the folder *path*; folders come first."""
    rows = "" if is_root else '<tr><td><a href="../">../</a></td></tr>\n'
    for entry in _sorted(entries):
        slash = "/" * entry.is_folder
        # "./": else a name with a colon would be read as an absolute address (RFC 3986 §4.2).
        href = "./" + quote_path(entry.name).decode("ascii") + slash
        size = "" if entry.is_folder else str(entry.size)
        rows += (
            f'<tr><td><a href="{escape(href)}">{escape(_text(entry.name))}{slash}</a></td>'
            f"<td>{_time(entry)}</td><td>{size}</td></tr>\n"
        )
    return _PAGE.format(title=escape(_text(path)), rows=rows).encode()


def as_json(entries: list[Entry]) -> bytes:
    """A list of objects with name, type, mtime and, for files, size (as nginx, autoindex_format json)."""
    result: list[dict[str, str | int]] = []
    for entry in _sorted(entries):
        one: dict[str, str | int] = {
            "name": _text(entry.name),
            "type": "directory" if entry.is_folder else "file",
            "mtime": _time(entry),
        }
        if not entry.is_folder:
            one["size"] = entry.size
        result.append(one)
    return json.dumps(result, ensure_ascii=False).encode()


def _sorted(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (not entry.is_folder, entry.name))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _time(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

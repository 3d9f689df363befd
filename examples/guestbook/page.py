"""The guestbook's one page as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from store import Entry

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guestbook</title>
<link rel="stylesheet" href="/static/style.css">
<main>
<h1>Guestbook</h1>
<p class="lead">This page went through every part of the stack. Reload it to see who answers next.</p>
<ul class="path">{path}</ul>
{note}
<form method="post" action="/">
<label for="author">Name</label>
<input id="author" name="author" maxlength="80" required>
<label for="text">Message</label>
<textarea id="text" name="text" rows="3" maxlength="500" required></textarea>
<button>Write</button>
</form>
{entries}
</main>
</html>
"""
_ENTRY = "<article><header><b>{author}</b> · {written:%Y-%m-%d %H:%M:%S} UTC</header><p>{text}</p></article>"
_NO_DATABASE = '<p class="note">No database is running: each app server keeps its own entries in memory.</p>'


def render(entries: Sequence[Entry], path: Sequence[tuple[str, str]], *, database: bool) -> bytes:
    """*path* is (kind, name) of each part that answered, from the outside inwards."""
    shown = (
        _ENTRY.format(author=escape(entry.author), text=escape(entry.text), written=entry.written)
        for entry in entries
    )
    return _PAGE.format(
        path="".join(f"<li><small>{escape(kind)}</small> <b>{escape(name)}</b></li>" for kind, name in path),
        note="" if database else _NO_DATABASE,
        entries="\n".join(shown),
    ).encode()

from __future__ import annotations

import json

from lbkit.static.listing import Entry, as_html, as_json

ENTRIES = [
    Entry(b"b.txt", False, 12, 1_600_000_000),
    Entry(b"<script>&\"'", False, 1, 0),
    Entry(b"a:b", True, 4096, 0),
    Entry(b"\xff %", False, 0, 0),
]


def test_the_page() -> None:
    page = as_html(b"/<x>/", ENTRIES, is_root=False).decode()
    assert "<h1>/&lt;x&gt;/</h1>" in page
    assert "<script>" not in page and "&lt;script&gt;&amp;&quot;&#x27;" in page
    assert '<a href="./a:b/">a:b/</a>' in page
    assert '<a href="./%FF%20%25">' in page
    assert page.index("a:b") < page.index("b.txt")
    assert "2020-09-13T12:26:40Z</td><td>12<" in page
    assert 'href="../"' in page
    assert 'href="../"' not in as_html(b"/", [], is_root=True).decode()


def test_json() -> None:
    found = json.loads(as_json(ENTRIES))
    assert found[0] == {"name": "a:b", "type": "directory", "mtime": "1970-01-01T00:00:00Z"}
    assert {"name": "b.txt", "type": "file", "mtime": "2020-09-13T12:26:40Z", "size": 12} in found

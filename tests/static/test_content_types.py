from __future__ import annotations

import pytest

from lbkit.static.content_types import content_type, is_compressible


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a.html", b"text/html; charset=utf-8"),
        (b"a.b.CSS", b"text/css; charset=utf-8"),
        (b"app.js", b"text/javascript; charset=utf-8"),
        (b"x.json", b"application/json"),
        (b"x.svg", b"image/svg+xml"),
        (b"x.woff2", b"font/woff2"),
        (b"x.tar.gz", b"application/gzip"),
        (b"x.unknown", b"application/octet-stream"),
        (b"README", b"application/octet-stream"),
        (b"html", b"application/octet-stream"),
        (b"x.", b"application/octet-stream"),
        (b"x.\xff", b"application/octet-stream"),
    ],
)
def test_types(name: bytes, expected: bytes) -> None:
    assert content_type(name) == expected


def test_what_gets_smaller() -> None:
    for name in (b"a.html", b"a.txt", b"a.js", b"a.json", b"a.svg", b"a.wasm", b"a.ttf"):
        assert is_compressible(content_type(name))
    for name in (b"a.png", b"a.gz", b"a.woff2", b"a.mp4", b"a.pdf", b"a"):
        assert not is_compressible(content_type(name))

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from lbkit.errors import ClientError
from lbkit.static import StaticFiles, StaticSettings
from lbkit.static.finder import Finder
from lbkit.static.tree import Tree
from tests.exchange.wire import site
from tests.static.test_files import get
from tests.support.loops import on_both_loops, open_descriptors

TEXT = "text " * 500
OLD, NEW = 1_600_000_000, 1_600_000_100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "index.html": "home",
        "app.js": TEXT,
        "short.js": "x",
        "sub/index.html": "sub",
        "assets/a.css": "a {}",
        "errors/404.html": "<h1>lost</h1>",
        "bare/one.txt": "1",
        "bare/.hidden": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def dated(file: Path, data: bytes, time: int) -> None:
    file.write_bytes(data)
    os.utime(file, (time, time))


@pytest.fixture
def coded(root: Path) -> Path:
    for name in ("page.html", "large.txt"):
        size = 5000 if name == "page.html" else 1_200_000
        dated(root / name, b"p" * size, OLD)
        dated(root / f"{name}.br", b"b" * (size - 3), OLD)
        dated(root / f"{name}.zst", b"z" * (size - 2), OLD - 1)  # older than the file: stale
        dated(root / f"{name}.gz", b"g" * (size - 1), NEW)
    return root


@pytest.mark.parametrize("path", ["/page.html", "/large.txt"])
@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, ""),
        ("br, gzip", "br"),
        ("gzip", "gzip"),
        ("zstd", ""),
        ("gzip, br;q=0.5", "gzip"),
        ("br;q=0, identity", ""),
        ("*", "br"),
    ],
)
@on_both_loops
async def test_what_stands_in_for_a_file(coded: Path, path: str, accept: str | None, coding: str) -> None:
    asked = {} if accept is None else {"Accept_Encoding": accept}
    async with site(StaticFiles(coded)) as where, where.client() as client:
        for _ in range(2):
            status, fields, body = await get(client, path, **asked)
            assert status == 200
            assert body[:1] == {"": b"p", "br": b"b", "gzip": b"g"}[coding]
            assert fields.get("content-encoding", "") == coding
            assert fields["vary"] == "Accept-Encoding"
            assert ("-" + coding + '"' in fields["etag"]) == bool(coding)
            assert fields["content-type"].startswith("text/html" if path == "/page.html" else "text/plain")
        status, fields, _ = await get(client, path, "HEAD", If_None_Match=fields["etag"], **asked)
        assert (status, fields["vary"]) == (304, "Accept-Encoding")
        assert (await get(client, path, Range="bytes=0-1", **asked))[2] == body[:2]


@on_both_loops
async def test_text_is_compressed_here(root: Path) -> None:
    async with site(StaticFiles(root)) as where, where.client() as client:
        for _ in range(2):
            _, fields, body = await get(client, "/app.js", Accept_Encoding="gzip, br")
            assert (fields["content-encoding"], fields["vary"]) == ("gzip", "Accept-Encoding")
            assert gzip.decompress(body).decode() == TEXT
            _, plain, body = await get(client, "/app.js")
            assert "content-encoding" not in plain and body.decode() == TEXT
            assert plain["vary"] == "Accept-Encoding" and plain["etag"] != fields["etag"]
        _, fields, _ = await get(client, "/short.js", Accept_Encoding="gzip")
        assert "content-encoding" not in fields and "vary" not in fields
    settings = StaticSettings(gzip=False, precompressed=False)
    async with site(StaticFiles(root, settings=settings)) as where, where.client() as client:
        assert "vary" not in (await get(client, "/app.js", Accept_Encoding="gzip"))[1]


@on_both_loops
async def test_a_stand_in_that_changes_is_seen(coded: Path) -> None:
    now = [100.0]
    async with site(StaticFiles(coded, clock=lambda: now[0])) as where, where.client() as client:
        assert (await get(client, "/page.html", Accept_Encoding="br"))[2][:1] == b"b"
        (coded / "page.html.br").unlink()
        now[0] += 1.0
        assert (await get(client, "/page.html", Accept_Encoding="br"))[2][:1] == b"p"


SPA = ("${path}", "${path}/", "/index.html")


@pytest.mark.parametrize(
    ("tries", "path", "expected"),
    [
        (SPA, "/", b"home"),
        (SPA, "/users/7", b"home"),
        (SPA, "/sub/", b"sub"),
        (SPA, "/sub", 301),
        (SPA, "/assets/a.css", b"a {}"),
        (SPA, "/assets/absent/", b"home"),
        (SPA, "/.git/config", b"home"),
        (("${path}", "=404"), "/sub", 404),
        (("${path}", "=410"), "/absent", 410),
        (("${path}.html", "${path}"), "/index", b"home"),
        (("${path}.html", "${path}"), "/app.js", TEXT.encode()),
        (("/absent",), "/", 404),
    ],
)
@on_both_loops
async def test_paths_are_tried_in_order(
    root: Path, tries: tuple[str, ...], path: str, expected: bytes | int
) -> None:
    for prefix in ("", "/static"):
        files = StaticFiles(root, strip_prefix=prefix, settings=StaticSettings(try_files=tries))
        async with site(files) as where, where.client() as client:
            status, fields, body = await get(client, prefix + path)
            assert (status if isinstance(expected, int) else body) == expected
            if status == 301:
                assert fields["location"] == f"{prefix}/sub/"


@on_both_loops
async def test_cache_control_by_path(root: Path) -> None:
    rules = (("/assets/*", "max-age=31536000, immutable"), ("*.html", "no-cache"), ("*", "max-age=60"))
    async with site(StaticFiles(root, settings=StaticSettings(cache_control=rules))) as where:
        async with where.client() as client:
            for path, expected in (
                ("/assets/a.css", "max-age=31536000, immutable"),
                ("/", "no-cache"),
                ("/app.js", "max-age=60"),
            ):
                _, fields, _ = await get(client, path)
                assert fields["cache-control"] == expected
                _, fields, _ = await get(client, path, "HEAD", If_None_Match=fields["etag"])
                assert fields["cache-control"] == expected


@on_both_loops
async def test_a_page_for_what_is_not_there(root: Path) -> None:
    settings = StaticSettings(not_found="/errors/404.html")
    async with site(StaticFiles(root, settings=settings)) as where, where.client() as client:
        status, fields, body = await get(client, "/absent")
        assert (status, fields["content-type"], body) == (404, "text/html; charset=utf-8", b"<h1>lost</h1>")
        (root / "errors" / "404.html").unlink()
        status, _, body = await get(client, "/absent")
        assert status == 404 and b"404 Not Found" in body


@on_both_loops
async def test_the_list_of_a_folder(root: Path) -> None:
    settings = StaticSettings(autoindex=True, index=("absent.html", "index.html"))
    async with site(StaticFiles(root, settings=settings)) as where, where.client() as client:
        assert (await get(client, "/"))[2] == b"home"
        assert (await get(client, "/bare"))[0] == 301
        status, fields, body = await get(client, "/bare/")
        assert (status, fields["vary"]) == (200, "Accept")
        assert b"one.txt" in body and b"hidden" not in body
        _, fields, body = await get(client, "/bare/", Accept="application/json")
        assert fields["content-type"] == "application/json"
        assert [entry["name"] for entry in json.loads(body)] == ["one.txt"]
    async with site(StaticFiles(root)) as where, where.client() as client:
        assert (await get(client, "/bare/"))[0] == 404


def test_nothing_is_left_open(coded: Path) -> None:
    settings = StaticSettings(try_files=("${path}", "${path}/", "=404"), not_found="/large.txt")
    finder, before = Finder(Tree(coded), b"", settings, lambda: 1.0), open_descriptors()
    for path in (b"/", b"/sub", b"/sub/", b"/bare/", b"/page.html", b"/large.txt", b"/absent"):
        try:
            finder.find(path, b"gzip", None).close()
        except ClientError as error:
            assert error.status == 404
    page = finder.page()
    assert page is not None and len(page[1]) == 1024 * 1024
    assert open_descriptors() == before

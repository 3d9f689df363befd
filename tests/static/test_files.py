from __future__ import annotations

import asyncio
import email
import email.policy
import errno
import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from lbkit.errors import ConfigError
from lbkit.exchange import Exchange
from lbkit.static import StaticFiles
from lbkit.static.cache import Ready
from lbkit.static.finder import Found
from lbkit.static.tree import Tree
from tests.exchange.wire import Client, Site, site
from tests.static.traversal import PUBLIC, SECRET, TRAVERSALS, traversal_tree
from tests.support.loops import on_both_loops, open_descriptors

MTIME = 1_600_000_000
DATE = "Sun, 13 Sep 2020 12:26:40 GMT"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "bare").mkdir()
    (root / "index.html").write_text("<h1>root</h1>")
    (root / "sub" / "index.html").write_text("<h1>sub</h1>")
    (root / "a.txt").write_text("0123456789")
    os.utime(root / "a.txt", (MTIME, MTIME))
    (root / "empty.txt").write_text("")
    (root / "ö %.txt").write_text("name")
    (root / "index.txt").mkdir()
    (root / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text("secret")
    return root


async def get(
    client: Client, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    client.send(f"{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n".encode())
    if method != "HEAD":
        return await client.response()
    head = (await client.until(b"\r\n\r\n")).decode()
    pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:-2])
    return int(head.split()[1]), {name.lower(): value for name, value in pairs}, b""


async def one(
    root: Path, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    async with site(StaticFiles(root)) as where, where.client() as client:
        return await get(client, path, method, **headers)


@on_both_loops
async def test_a_file(root: Path) -> None:
    status, fields, body = await one(root, "/a.txt")
    assert (status, body) == (200, b"0123456789")
    assert fields["content-type"] == "text/plain; charset=utf-8"
    assert fields["last-modified"] == DATE
    assert fields["accept-ranges"] == "bytes"
    assert fields["etag"].startswith('"')


@on_both_loops
async def test_head_says_the_same_without_the_body(root: Path) -> None:
    async with site(StaticFiles(root)) as where, where.client() as client:
        status, fields, _ = await get(client, "/a.txt", "HEAD")
        assert (status, fields["content-length"]) == (200, "10")
        assert (await get(client, "/empty.txt"))[2] == b""


@on_both_loops
async def test_folders(root: Path) -> None:
    async with site(StaticFiles(root)) as where, where.client() as client:
        assert (await get(client, "/"))[2] == b"<h1>root</h1>"
        assert (await get(client, "/sub/"))[2] == b"<h1>sub</h1>"
        status, fields, _ = await get(client, "/sub?a=b")
        assert (status, fields["location"]) == (301, "/sub/?a=b")
        assert (await get(client, "//sub"))[1]["location"] == "/sub/"
        assert (await get(client, "/bare/"))[0] == 404
        assert (await get(client, "/a.txt/"))[0] == 404


@on_both_loops
async def test_a_prefix_is_stripped(root: Path) -> None:
    async with site(StaticFiles(root, strip_prefix="/static/")) as where, where.client() as client:
        assert (await get(client, "/static/a.txt"))[0] == 200
        assert (await get(client, "/static/sub"))[1]["location"] == "/static/sub/"
        assert (await get(client, "/static"))[1]["location"] == "/static/"
        assert (await get(client, "/static/"))[2] == b"<h1>root</h1>"
        assert (await get(client, "/statica.txt"))[0] == 404
        assert (await get(client, "/a.txt"))[0] == 404


@on_both_loops
async def test_names_in_any_encoding(root: Path) -> None:
    (root / os.fsdecode(b"\xff.txt")).write_text("raw")
    async with site(StaticFiles(root)) as where, where.client() as client:
        assert (await get(client, "/%C3%B6%20%25.txt"))[2] == b"name"
        assert (await get(client, "/%ff.txt"))[2] == b"raw"


@on_both_loops
async def test_other_methods(root: Path) -> None:
    async with site(StaticFiles(root)) as where, where.client() as client:
        status, fields, _ = await get(client, "/a.txt", "POST")
        assert (status, fields["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (await get(client, "/a.txt", "OPTIONS"))[:1] == (204,)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_Modified_Since": DATE}, 304),
        ({"If_Modified_Since": "Sun, 13 Sep 2020 12:26:39 GMT"}, 200),
        ({"If_None_Match": "ETAG"}, 304),
        ({"If_None_Match": '"other"'}, 200),
        ({"If_Match": '"other"'}, 412),
        ({"If_Unmodified_Since": "Sun, 13 Sep 2020 12:26:39 GMT"}, 412),
    ],
)
def test_conditions(root: Path, headers: dict[str, str], status: int) -> None:
    async def run() -> None:
        async with site(StaticFiles(root)) as where, where.client() as client:
            etag = (await get(client, "/a.txt"))[1]["etag"]
            sent = {name: value.replace("ETAG", etag) for name, value in headers.items()}
            found, fields, _ = await get(client, "/a.txt", "HEAD" if status == 304 else "GET", **sent)
            assert found == status
            assert found == 412 or fields["etag"] == etag

    asyncio.run(run())


def test_a_304_has_no_body_and_the_connection_goes_on(root: Path) -> None:
    async def run() -> None:
        async with site(StaticFiles(root)) as where, where.client() as client:
            client.send(f"GET /a.txt HTTP/1.1\r\nHost: h\r\nIf-Modified-Since: {DATE}\r\n\r\n".encode())
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 304 ")
            assert (await get(client, "/a.txt"))[0] == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    ("value", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=5-", 206, b"56789", "bytes 5-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=0-1,4-5", 206, b"012345", "bytes 0-5/10"),  # near enough to be one
        ("bytes=0-1,9-1", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_ranges(root: Path, value: str, status: int, body: bytes | None, content_range: str | None) -> None:
    found, fields, data = asyncio.run(one(root, "/a.txt", Range=value))
    assert (found, fields.get("content-range")) == (status, content_range)
    assert body is None or data == body


def test_if_range(root: Path) -> None:
    assert asyncio.run(one(root, "/a.txt", Range="bytes=0-0", If_Range=DATE))[0] == 206
    assert asyncio.run(one(root, "/a.txt", Range="bytes=0-0", If_Range='"old"'))[0] == 200


@pytest.mark.parametrize("prefix", ["", "/static/"])
@on_both_loops
async def test_there_is_no_way_out(tmp_path: Path, prefix: str) -> None:
    """Each in turn is answered on a connection of its own, and nothing that is not to be seen is."""
    root = traversal_tree(tmp_path)
    async with site(StaticFiles(root, strip_prefix=prefix)) as where:
        for path, expected in TRAVERSALS.items():
            target = prefix.rstrip("/").encode() + path
            answer = await where.ask(b"GET %b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % target)
            status = int(answer.split()[1])
            assert SECRET not in answer, target
            assert status in expected, target
            assert (PUBLIC in answer) == (status == 200), target


@on_both_loops
async def test_a_large_file_arrives_whole_in_bounded_memory(root: Path) -> None:
    size = 40_000_000
    with (root / "big.bin").open("wb") as file:
        file.truncate(size - 3)
        file.seek(size - 3)
        file.write(b"end")
    async with site(StaticFiles(root)) as where, where.client(receive_buffer=65536) as client:
        client.send(b"GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.until(b"\r\n\r\n")
        tracemalloc.start()
        left, last = size, b""
        while left:
            last = await client.reader.read(65536)
            left -= len(last)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert last.endswith(b"end")
        assert peak < 4_000_000
        client.send(b"GET /big.bin HTTP/1.1\r\nHost: h\r\nRange: bytes=-300000\r\n\r\n")
        assert len((await client.response())[2]) == 300_000


@on_both_loops
async def test_a_file_that_shrinks_while_it_is_sent_ends_in_a_failure(root: Path) -> None:
    big = root / "big.bin"
    with big.open("wb") as file:
        file.truncate(40_000_000)
    async with site(StaticFiles(root)) as where, where.client(receive_buffer=4096) as client:
        client.send(b"GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.until(b"\r\n\r\n")
        os.truncate(big, 1_000_000)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.exactly(40_000_000)
        await gone(where)


@on_both_loops
async def test_a_file_that_vanishes_while_it_is_sent_arrives_whole(root: Path) -> None:
    big = root / "big.bin"
    with big.open("wb") as file:
        file.truncate(20_000_000)
    async with site(StaticFiles(root)) as where, where.client(receive_buffer=65536) as client:
        client.send(b"GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.until(b"\r\n\r\n")
        big.rename(root / "moved.bin")
        (root / "moved.bin").unlink()
        assert len(await client.exactly(20_000_000)) == 20_000_000
        assert (await get(client, "/big.bin"))[0] == 404


@on_both_loops
async def test_a_file_that_is_replaced_while_it_is_sent_is_the_old_one(root: Path) -> None:
    (root / "big.bin").write_bytes(b"a" * 20_000_000)
    async with site(StaticFiles(root)) as where, where.client(receive_buffer=65536) as client:
        client.send(b"GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.until(b"\r\n\r\n")
        (root / "new.bin").write_bytes(b"b" * 20_000_000)
        (root / "new.bin").rename(root / "big.bin")
        assert (await client.exactly(20_000_000)).count(b"a") == 20_000_000
        assert (await get(client, "/big.bin", Range="bytes=0-0"))[2] == b"b"


@on_both_loops
async def test_a_disk_that_does_not_answer_holds_up_nobody_else(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty clients wait for files on it: more than the loop has threads."""
    go_on = threading.Event()
    real = Tree.open

    def slow(tree: Tree, names: list[bytes]) -> int:
        names = list(names)
        if names[0].startswith(b"cold"):
            assert go_on.wait(10)
        return real(tree, names)

    monkeypatch.setattr(Tree, "open", slow)
    (root / "large.bin").write_bytes(bytes(1_000_000))
    clock = Clock()
    for number in range(20):
        (root / f"cold{number}.txt").write_text("cold")
    async with site(StaticFiles(root, clock=clock)) as where, where.client() as client:
        assert (await get(client, "/a.txt"))[0] == 200
        waiting = [asyncio.create_task(one_of(where, f"/cold{number}.txt")) for number in range(20)]
        try:
            for _ in range(3):
                assert (await get(client, "/a.txt"))[2] == b"0123456789"  # from memory, and compared again
                clock.now += 1.0
            assert (await get(client, "/large.bin"))[2] == bytes(1_000_000)
            assert (await get(client, "/absent"))[0] == 404
            assert not any(task.done() for task in waiting)
        finally:
            go_on.set()
        assert [status for status, _, _ in await asyncio.gather(*waiting)] == [200] * 20


async def one_of(where: Site, path: str) -> tuple[int, dict[str, str], bytes]:
    async with where.client() as client:
        return await get(client, path)


@on_both_loops
async def test_a_client_that_leaves_half_way_leaves_nothing_open(root: Path) -> None:
    with (root / "big.bin").open("wb") as file:
        file.truncate(40_000_000)
    async with site(StaticFiles(root)) as where:
        async with where.client(receive_buffer=4096) as client:
            client.send(b"GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
            await client.until(b"\r\n\r\n")
        await gone(where)
        assert await where.http.drain(5) == 0


async def gone(where: Site) -> None:
    async with asyncio.timeout(5):
        while where.http.open_connections:
            await asyncio.sleep(0.001)


@on_both_loops
async def test_a_server_that_closes_while_a_file_is_opened_leaves_nothing_open(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, opened = threading.Event(), threading.Event(), threading.Event()
    real = Tree.open

    def slow(tree: Tree, names: list[bytes]) -> int:
        begun.set()
        assert go_on.wait(5)
        descriptor = real(tree, names)
        opened.set()
        return descriptor

    monkeypatch.setattr(Tree, "open", slow)
    async with site(StaticFiles(root)) as where, where.client() as client:
        client.send(b"GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n")
        assert await asyncio.to_thread(begun.wait, 5)
        await where.http.close()
        before = open_descriptors()
        go_on.set()
        assert await asyncio.to_thread(opened.wait, 5)
        async with asyncio.timeout(5):
            while open_descriptors() > before:
                await asyncio.sleep(0.001)


@on_both_loops
async def test_a_file_that_cannot_be_read_leaves_nothing_open(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "broken disk")

    async with site(StaticFiles(root)) as where, where.client() as client:
        assert (await get(client, "/empty.txt"))[0] == 200
        before = open_descriptors()
        monkeypatch.setattr(os, "pread", broken)
        for path in ("/a.txt", "/", "/sub/"):
            assert (await get(client, path))[0] == 500
        async with asyncio.timeout(5):  # a file is closed just after its response has been sent
            while open_descriptors() > before:
                await asyncio.sleep(0.001)


# ---- from memory ----


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Counted(StaticFiles):
    """Counts how often the disk is asked."""

    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock=clock)
        self.looks = 0
        find = self._finder.find

        def counted(path: bytes, accept: bytes | None, before: Ready | None) -> Found:
            self.looks += 1
            return find(path, accept, before)

        self._finder.find = counted  # type: ignore[method-assign]


@on_both_loops
async def test_a_small_file_is_answered_from_memory_for_a_second(root: Path) -> None:
    clock = Clock()
    files = Counted(root, clock)
    async with site(files) as where, where.client() as client:
        first = await get(client, "/a.txt")
        assert await get(client, "/a.txt") == first
        assert (await get(client, "/a.txt", "HEAD"))[1]["content-length"] == "10"
        assert (await get(client, "/a.txt", Range="bytes=2-3"))[2] == b"23"
        assert (await get(client, "/a.txt", "HEAD", If_None_Match=first[1]["etag"]))[0] == 304
        assert (await get(client, "/a.txt", Range="bytes=50-"))[1]["content-range"] == "bytes */10"
        assert files.looks == 1
        clock.now += 1.0
        assert await get(client, "/a.txt") == first
        assert files.looks == 2


@on_both_loops
async def test_what_is_in_demand_is_compared_in_the_background(root: Path) -> None:
    clock = Clock()
    files = Counted(root, clock)
    async with site(files) as where, where.client() as client:
        assert (await get(client, "/a.txt"))[2] == b"0123456789"
        (root / "a.txt").write_text("changed")
        clock.now += 0.75
        assert (await get(client, "/a.txt"))[2] == b"0123456789"
        async with asyncio.timeout(5):
            while (await get(client, "/a.txt"))[2] != b"changed":
                pass
        assert files.looks == 2


@pytest.mark.parametrize("is_slow", [False, True])
@on_both_loops
async def test_a_file_that_vanishes_is_gone_within_a_second(root: Path, is_slow: bool) -> None:
    clock = Clock()
    files = Counted(root, clock)
    async with site(files) as where, where.client() as client:
        assert (await get(client, "/a.txt"))[0] == 200
        (root / "a.txt").unlink()
        clock.now += 1.0 if is_slow else 0.75
        async with asyncio.timeout(5):
            while (await get(client, "/a.txt"))[0] != 404:
                assert not is_slow
        (root / "a.txt").write_text("back")
        assert (await get(client, "/a.txt"))[2] == b"back"


@on_both_loops
async def test_a_change_within_a_tick_of_the_file_systems_clock_is_seen(root: Path) -> None:
    clock = Clock()
    async with site(Counted(root, clock)) as where, where.client() as client:
        for text in ("one", "two", "six"):  # of one length, and one after the other at once
            (root / "tick.txt").write_text(text)
            assert (await get(client, "/tick.txt"))[2] == text.encode()
            clock.now += 1.0


@on_both_loops
async def test_a_small_file_needs_no_task(root: Path) -> None:
    files = StaticFiles(root)
    async with site(files) as where, where.client() as client:
        await get(client, "/a.txt")
        assert where.http.handler is files
        seen: list[Exchange] = []
        where.http.begin = lambda exchange: seen.append(exchange) or files.begin(exchange)  # type: ignore[func-returns-value]
        await get(client, "/a.txt")
        assert [exchange.has_task for exchange in seen] == [False]


@on_both_loops
async def test_several_ranges(root: Path) -> None:
    data = bytes(range(256)) * 4
    (root / "data.bin").write_bytes(data)
    large = data * 100
    (root / "large.bin").write_bytes(large)
    async with site(StaticFiles(root)) as where, where.client() as client:
        for path, content in (("/data.bin", data), ("/large.bin", large)):
            status, fields, body = await get(client, path, Range="bytes=-2,0-3")
            assert status == 206 and "content-range" not in fields
            message = email.message_from_bytes(
                f"Content-Type: {fields['content-type']}\r\n\r\n".encode() + body, policy=email.policy.HTTP
            )
            parts = list(message.iter_parts())  # type: ignore[attr-defined]
            assert [part["content-range"] for part in parts] == [
                f"bytes {len(content) - 2}-{len(content) - 1}/{len(content)}",
                f"bytes 0-3/{len(content)}",
            ]
            assert [part.get_content() for part in parts] == [content[-2:], content[:4]]


def test_the_root_has_to_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        StaticFiles(tmp_path / "absent")

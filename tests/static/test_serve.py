from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from lbkit.errors import ConfigError, StartFailed
from lbkit.exchange import HttpSettings
from lbkit.static import StaticSettings, serve
from tests.exchange.wire import GET, connected
from tests.static.test_files import get
from tests.support.loops import on_both_loops


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("the index")
    (tmp_path / "site" / "a.txt").write_text("0123456789")
    return tmp_path / "site"


@on_both_loops
async def test_a_server_for_the_length_of_a_block(root: Path) -> None:
    async with serve(root, "127.0.0.1:0") as server:
        assert server.address.port > 0
        async with connected(server.address.port) as client:
            for _ in range(3):  # from the disk, from memory, and without being read
                assert (await get(client, "/"))[2] == b"the index"
            assert (await get(client, "/a.txt", Range="bytes=2-3"))[::2] == (206, b"23")
            assert (await get(client, "/absent"))[0] == 404
            assert (await get(client, "/a.txt", "POST"))[0] == 405
        assert server.http.counters.requests == 6
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", server.address.port)


@on_both_loops
async def test_its_settings(root: Path) -> None:
    files = StaticSettings(try_files=("${path}", "/index.html"))
    http = HttpSettings(server_header=b"mine")
    async with serve(str(root), "127.0.0.1:0", files=files, strip_prefix="/app/", settings=http) as server:
        async with connected(server.address.port) as client:
            status, fields, body = await get(client, "/app/any/where")
            assert (status, body, fields["server"]) == (200, b"the index", "mine")
            assert (await get(client, "/any/where"))[0] == 404


@on_both_loops
async def test_a_unix_socket(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serve(root, f"unix:{path}"):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(GET)
        assert (await reader.readuntil(b"the index")).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        await writer.wait_closed()
    assert os.listdir(tmp_path) == ["site"]


@on_both_loops
async def test_an_inherited_socket(root: Path) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    async with serve(root, "127.0.0.1:1", sock=sock) as server, connected(server.address.port) as client:
        assert (await get(client, "/a.txt"))[2] == b"0123456789"


@on_both_loops
async def test_what_cannot_be(root: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        serve(root / "absent", "127.0.0.1:0")
    with pytest.raises(ValueError, match="nowhere"):
        serve(root, "nowhere")
    async with serve(root, "127.0.0.1:0") as server:
        with pytest.raises(StartFailed, match="in use"):
            await serve(root, server.address).start()


@on_both_loops
async def test_a_download_may_end_and_has_a_limit(root: Path) -> None:
    with (root / "big.bin").open("wb") as file:
        file.truncate(20_000_000)
    for timeout, cut in ((10.0, 0), (0.05, 1)):
        server = serve(root, "127.0.0.1:0", stop_timeout=timeout)
        await server.start()
        async with connected(server.address.port, receive_buffer=65536) as client:
            client.send(b"GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
            await client.until(b"\r\n\r\n")
            stopping = asyncio.create_task(server.stop())
            if not cut:
                assert len(await client.exactly(20_000_000)) == 20_000_000
            assert await stopping == cut
    assert await server.stop() == 0

"""aiohttp's part runs in `test_web_servers`, in a process of its own as it is meant to be."""

from __future__ import annotations

import urllib.request
from asyncio import to_thread
from pathlib import Path

import pytest

from lbkit.asgi import serve
from lbkit.bench import FOLDER_VARIABLE, folders


async def test_starlettes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small").write_bytes(b"abc")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))

    def fetch(address: object) -> bytes:
        with urllib.request.urlopen(f"http://{address}/small", timeout=10) as answer:
            data: bytes = answer.read()
            return data

    async with serve(folders.starlette(), "127.0.0.1:0") as server:
        assert await to_thread(fetch, server.address) == b"abc"

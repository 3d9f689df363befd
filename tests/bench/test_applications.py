from __future__ import annotations

import json
import urllib.request
from asyncio import to_thread

from lbkit.asgi import serve
from lbkit.bench.applications import app


async def fetched(address: object, path: str, body: bytes | None = None) -> bytes:
    def fetch() -> bytes:
        with urllib.request.urlopen(f"http://{address}{path}", body, timeout=10) as answer:
            data: bytes = answer.read()
            return data

    return await to_thread(fetch)


async def test_what_it_answers() -> None:
    async with serve(app, "127.0.0.1:0") as server:
        assert await fetched(server.address, "/") == b"Hello, world!"
        document = [{"id": 1, "text": "é"}] * 500
        answer = await fetched(server.address, "/json", json.dumps(document).encode())
        assert json.loads(answer) == document
        assert await fetched(server.address, "/upload", b"x" * 300_000) == b"300000"
        assert await fetched(server.address, "/stream") == b"x" * 10_000

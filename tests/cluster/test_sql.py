from __future__ import annotations

import asyncio
import socket

import pytest

from lbkit.cluster.sql import Administration
from lbkit.errors import ConnectFailed, QueryFailed
from tests.support.databases import LivePair


async def test_statements(pair: LivePair) -> None:
    node = pair.cluster._nodes["mysql1"]
    async with node.administration() as admin:
        assert await admin.run("SELECT 1 AS one, 'x' AS word") == [{"one": 1, "word": "x"}]
        assert await admin.run("DO 1") == []
        assert await admin.run("DROP TABLE IF EXISTS app.there_is_none") == []
        with pytest.raises(QueryFailed, match="1064"):
            await admin.run("SELEKT")
        assert await admin.run("SELECT 2 AS two") == [{"two": 2}]


async def test_a_wrong_password(pair: LivePair) -> None:
    with pytest.raises(ConnectFailed, match="Access denied"):
        async with Administration(pair.primary.port, "wrong"):
            pass


async def test_nobody_and_somebody_silent() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(ConnectFailed, match=f"port {port}"):
            async with Administration(port, "x"):
                pass
        listener.listen()
        started = asyncio.get_running_loop().time()
        with pytest.raises(ConnectFailed, match="no answer"):
            async with Administration(port, "x", timeout=0.05):
                pass
        assert asyncio.get_running_loop().time() - started < 2

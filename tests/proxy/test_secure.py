from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lbkit.config import PoolTlsConfig
from lbkit.errors import ConnectFailed
from lbkit.proxy.secure import secure
from lbkit.server import Address
from lbkit.tls import ClientTls
from tests.relay.joined import tcp_pair
from tests.relay.secured import contexts, transport
from tests.support.loops import on_both_loops

ADDRESS = Address("127.0.0.1", 443)


def trusting(folder: Path, name: str) -> ClientTls:
    return ClientTls(PoolTlsConfig(folder / "test_authority.pem", server_name=name), "x")


@on_both_loops
async def test_a_server_that_proves_what_it_is(tmp_path: Path) -> None:
    server, _ = contexts(tmp_path)
    one, other = tcp_pair()
    ends = await asyncio.gather(
        secure(one, ADDRESS, trusting(tmp_path, "a.example"), 5), transport(other, server)
    )
    for end in ends:
        assert end.is_secured
        end.abort()


@on_both_loops
async def test_servers_that_do_not(tmp_path: Path) -> None:
    server, _ = contexts(tmp_path)
    one, other = tcp_pair()
    failure, end = await asyncio.gather(
        secure(one, ADDRESS, trusting(tmp_path, "b.example"), 5),
        transport(other, server),
        return_exceptions=True,
    )
    assert isinstance(failure, ConnectFailed)
    assert str(failure).startswith("127.0.0.1:443: its certificate does not hold: Hostname mismatch")
    if not isinstance(end, BaseException):
        end.abort()
    one, other = tcp_pair()
    other.send(b"220 hello\r\n")
    with pytest.raises(ConnectFailed, match="127.0.0.1:443: TLS handshake failed: "):
        await secure(one, ADDRESS, trusting(tmp_path, "a.example"), 5)
    other.close()
    one, other = tcp_pair()
    with pytest.raises(ConnectFailed, match="no tls handshake within 0.05 s"):
        await secure(one, ADDRESS, trusting(tmp_path, "a.example"), 0.05)
    other.close()


@on_both_loops
async def test_given_up_it_leaves_nothing_open(tmp_path: Path) -> None:
    contexts(tmp_path)
    one, other = tcp_pair()
    task = asyncio.create_task(secure(one, ADDRESS, trusting(tmp_path, "a.example"), 5))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    other.close()

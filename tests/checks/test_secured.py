from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from lbkit.checks.secured import open_secured
from lbkit.errors import CheckFailed
from lbkit.sockets import connect
from tests.checks.test_tls import make_certificate, tls_server
from tests.support.loops import on_both_loops


@on_both_loops
async def test_a_handshake_or_its_reason(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "c.pem")
    context = ssl.create_default_context(cafile=certificate)
    async with tls_server(certificate) as address:
        _, writer = await open_secured(await connect(address, 5), context, "localhost")
        writer.transport.abort()
        with pytest.raises(CheckFailed, match="its certificate does not hold: Hostname mismatch"):
            await open_secured(await connect(address, 5), context, "b.example")

from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.bench.clients import Ask, own_client
from lbkit.bench.contenders import select, server, started
from lbkit.cluster.report import Silent


@pytest.mark.parametrize(("resource", "close"), [("/medium", False), ("/small", True)])
def test_proxy_py_moves_bytes_to_the_server(resource: str, close: bool, tmp_path: Path) -> None:
    (proxy_py,) = select(Silent(), keys=["proxy.py"]).contenders
    with server() as address, started(proxy_py, address, tmp_path) as route:
        measured = own_client(route.address, Ask(resource, 4, 0.2, close))
    assert measured.requests > 0
    assert measured.failures == 0

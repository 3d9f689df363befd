from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.config.decoder import Problems
from lbkit.config.pool_tls import PoolTlsConfig, check_pool_tls


@pytest.mark.parametrize(
    ("tls", "problems"),
    [
        (PoolTlsConfig(), []),
        (PoolTlsConfig(Path("ca"), "db.example", certificate=Path("mine"), key=Path("key")), []),
        (PoolTlsConfig(Path("ca"), verify=False), ["x.tls.ca: has no effect with verify = false"]),
        (PoolTlsConfig(key=Path("key")), ['x.tls.key: has no effect without "certificate"']),
        (PoolTlsConfig(server_name="*.x"), ['x.tls.server_name: "*.x" is not a host name']),
        (PoolTlsConfig(server_name="a b"), ['x.tls.server_name: "a b" is not a host name']),
    ],
)
def test_what_only_the_whole_table_can_tell(tls: PoolTlsConfig, problems: list[str]) -> None:
    found = Problems()
    check_pool_tls(tls, "x.tls", found)
    assert found.lines == problems

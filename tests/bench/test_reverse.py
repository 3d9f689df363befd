from __future__ import annotations

import pytest

from lbkit.bench import SERVER_VARIABLE
from lbkit.bench.reverse import Benchmark


def test_everything_goes_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, "127.0.0.1:9")
    assert Benchmark.routes(object.__new__(Benchmark)) == [(r"/.*", [b"http://127.0.0.1:9/"])]

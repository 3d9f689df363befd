from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from lbkit.bench import SERVER_VARIABLE
from lbkit.bench.reverse import Benchmark


def test_everything_goes_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, "127.0.0.1:9")
    plugin = object.__new__(Benchmark)
    (pattern,) = plugin.routes()
    url = plugin.handle_route(SimpleNamespace(path=b"/small?a"), re.compile(str(pattern)))
    assert (url.hostname, url.port, url.remainder) == (b"127.0.0.1", 9, b"/small?a")

from __future__ import annotations

import pytest

from lbkit.config import Timeouts
from lbkit.config.values import Duration


@pytest.mark.parametrize(("mode", "seconds"), [("tcp", 600), ("http", 60)])
def test_idle_timeouts_depend_on_the_mode(mode: str, seconds: float) -> None:
    timeouts = Timeouts()
    assert timeouts.client_in(mode) == timeouts.server_in(mode) == seconds  # type: ignore[arg-type]
    assert Timeouts(client=Duration(0)).client_in("tcp") == 0, "zero is no limit, not the default"

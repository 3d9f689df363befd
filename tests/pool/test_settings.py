from __future__ import annotations

from lbkit.pool import HealthRules, PoolSettings


def test_the_defaults_are_those_of_the_manuals() -> None:
    settings = PoolSettings()
    assert (settings.retries, settings.retry_percent, settings.retry_minimum) == (3, 20.0, 3)
    assert settings.panic_threshold == 0, "off"
    rules = HealthRules()
    assert (rules.rise, rules.fall, rules.passive, rules.outlier) == (2, 3, None, None)

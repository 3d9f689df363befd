"""Settings that every test shares."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# CI machines stall; a slow example is not a wrong one.
settings.register_profile(
    "lbkit", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("lbkit")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With LBKIT_NO_SKIPS a skipped test is a failure: where everything can be had nothing may be missing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or "LBKIT_NO_SKIPS" not in os.environ:
        return
    if skipped := len(reporter.stats.get("skipped", ())):
        reporter.write_line(f"\nfailed because {skipped} tests were skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

"""What tests of programs that use lbkit can build on: contract suites for parts of one's own."""

from __future__ import annotations

from lbkit.testing.balancers import BalancerContract

__all__ = ["BalancerContract"]

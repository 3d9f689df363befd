"""The database fixtures, for the tests of failover."""

from tests.support.databases import _pair_of, flavour, managed_pair

__all__ = ["_pair_of", "flavour", "managed_pair"]

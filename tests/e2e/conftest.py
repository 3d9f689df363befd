"""The database fixtures, for every test of this folder."""

from tests.support.databases import _pair_of, flavour, managed_pair, pair, router, table

__all__ = ["_pair_of", "flavour", "managed_pair", "pair", "router", "table"]

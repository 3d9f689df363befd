"""The database fixtures, for the tests of ``lbkit mysql``."""

from tests.support.databases import _pair_of, flavour, managed_pair, pair

__all__ = ["_pair_of", "flavour", "managed_pair", "pair"]

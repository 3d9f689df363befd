"""The database fixtures, for every test of this folder."""

from tests.support.databases import _pair_of, flavour, pair

__all__ = ["_pair_of", "flavour", "pair"]

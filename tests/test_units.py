from __future__ import annotations

from lbkit.config.values import parse_duration, parse_size
from lbkit.units import Duration, Size


def test_quantities_are_numbers_and_say_their_unit() -> None:
    assert (Duration(1.5), Size(7)) == (1.5, 7)
    assert str(Duration(10)) == "10s"
    assert parse_duration(str(Duration(0.25))) == 0.25
    assert isinstance(parse_duration("1s"), Duration)
    assert isinstance(parse_size("1KiB"), Size)

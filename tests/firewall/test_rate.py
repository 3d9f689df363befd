from __future__ import annotations

import pytest

from lbkit.firewall.rate import Rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/s", Rate(100, 1, 100)),
        ("30/m", Rate(30, 60, 30)),
        ("1/h", Rate(1, 3600, 1)),
        ("100/s burst 20", Rate(100, 1, 20)),
    ],
)
def test_as_it_is_written(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate
    assert str(rate) == text


@pytest.mark.parametrize(
    "text",
    ["", "100", "100/d", "/s", "-1/s", "1.5/s", "100 /s", "100/s burst", "100/s burst -1", "٣/s", "1/s\n"],
)
def test_not_a_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        Rate.parse(text)


@pytest.mark.parametrize("text", ["0/s", "1/s burst 0"])
def test_a_rate_that_lets_nobody_in(text: str) -> None:
    with pytest.raises(ValueError, match="would let nobody in"):
        Rate.parse(text)


def test_shares_add_up() -> None:
    shares = [Rate.parse("100/s burst 10").share(3, burst) for burst in (4, 3, 3)]
    assert sum(1 / share.interval for share in shares) == pytest.approx(100)
    assert str(shares[0]) == "100 in 3 s burst 4"

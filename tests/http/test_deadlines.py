from __future__ import annotations

import pytest

from lbkit.http.deadlines import told, untold


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([b"1500"], 1.5),
        ([b"0"], 0.0),
        ([b"9999999999"], 9999999.999),
        ([], None),
        ([b""], None),
        ([b"-1"], None),
        ([b"1.5"], None),
        ([b"1s"], None),
        ([b"99999999999"], None),
        ([b"1, 2"], None),
        ([b"1", b"2"], None),
        (["٣".encode()], None),
    ],
)
def test_what_is_left(values: list[bytes], seconds: float | None) -> None:
    headers = [(b"X-Other", b"7"), *((b"x-LEFT", value) for value in values)]
    assert told(headers, b"X-Left") == seconds


@pytest.mark.parametrize("name", [b"X-Left", b"X_Left"])
def test_no_spelling_stays(name: bytes) -> None:
    headers = [(b"x-left", b"1"), (b"X_Left", b"2"), (b"X-Left-Over", b"3")]
    assert untold(headers, name) == [(b"X-Left-Over", b"3")]

from __future__ import annotations

import pytest

from lbkit.http.codings import choose_coding

OFFERED = (b"br", b"zstd", b"gzip")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, b""),
        (b"", b""),
        # the examples of RFC 9110 §12.5.3
        (b"compress, gzip", b"gzip"),
        (b"*", b"br"),
        (b"compress;q=0.5, gzip;q=1.0", b"gzip"),
        (b"gzip;q=1.0, identity; q=0.5, *;q=0", b"gzip"),
        # what browsers send
        (b"gzip, deflate, br, zstd", b"br"),
        (b"gzip, deflate", b"gzip"),
        # weights come first, then our order
        (b"br;q=0.5, gzip;q=0.8", b"gzip"),
        (b"br;q=0.8, gzip;q=0.8", b"br"),
        (b"br;q=0, gzip;q=0.001", b"gzip"),
        (b"*;q=0.5, br;q=0", b"zstd"),
        (b"gzip;q=0.5, identity", b""),
        (b"gzip;q=0.5, identity;q=0.5", b"gzip"),
        (b"identity", b""),
        (b"identity;q=0", b""),  # nothing is welcome: better that than nothing
        (b"*;q=0", b""),
        (b"gzip;q=0", b""),
        # spelling
        (b"GZIP;Q=0.5", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b" , gzip ;q=1.000 ,", b"gzip"),
        # what is not of the grammar is not there
        (b"gzip;q=1.5", b""),
        (b"gzip;q=0.1234", b""),
        (b"gzip;q=", b""),
        (b"gzip;level=1", b""),
        (b"gz ip", b""),
        (b"gzip;q=nan, br", b"br"),
        (b"a" * 2000 + b", gzip", b""),
    ],
)
def test_choices(accept: bytes | None, expected: bytes) -> None:
    assert choose_coding(accept, OFFERED) == expected


def test_nothing_is_offered() -> None:
    assert choose_coding(b"gzip, *", ()) == b""

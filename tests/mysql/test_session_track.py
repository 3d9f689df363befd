from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.mysql.session_track import own_gtids


def text(data: bytes) -> bytes:
    """A length-encoded string."""
    if len(data) < 251:
        return bytes([len(data)]) + data
    return b"\xfc" + len(data).to_bytes(2, "little") + data


def changes(*entries: tuple[int, bytes], info: bytes = b"") -> bytes:
    return text(info) + text(b"".join(bytes([kind]) + text(data) for kind, data in entries))


def test_mysqls_own_gtids() -> None:
    tail = changes((3, b"\0" + text(b"3e11fa47-71ca-11e1-9e33-c80aa9429562:23")), info=b"Rows matched: 1")
    assert own_gtids(tail) == "3e11fa47-71ca-11e1-9e33-c80aa9429562:23"


def test_mariadbs_last_gtid_among_other_variables() -> None:
    tail = changes(
        (0, text(b"autocommit") + text(b"ON")), (1, text(b"app")), (0, text(b"last_gtid") + text(b"0-1-7"))
    )
    assert own_gtids(tail) == "0-1-7"


def test_other_changes_name_none() -> None:
    assert own_gtids(changes((1, text(b"app")), (2, b"\x011"))) == ""


def test_a_long_set() -> None:
    many = b"3e11fa47-71ca-11e1-9e33-c80aa9429562:" + b":".join(b"%d" % n for n in range(1, 400, 2))
    assert own_gtids(changes((3, b"\0" + text(many)))) == many.decode()


@pytest.mark.parametrize("tail", [b"", b"\x05ab", b"\0\x05\x03", b"\0\xff", b"\0\x03\x03\x01\0"])
def test_what_ends_too_early(tail: bytes) -> None:
    with pytest.raises(ValueError):
        own_gtids(tail)


@given(st.binary(max_size=60))
def test_whatever_comes_it_is_a_text_or_a_value_error(tail: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(own_gtids(tail), str)

from __future__ import annotations

import subprocess
import sys

from lbkit.balancing.hashing import hash64, hashes64


def test_it_is_the_same_in_every_process() -> None:
    """Python's own hash of bytes is not."""
    code = "from lbkit.balancing.hashing import *; print(hash64(b'key'), hashes64('web1', 3))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == f"{hash64(b'key')} {hashes64('web1', 3)}\n"


def test_published_digest() -> None:
    """The first eight bytes of BLAKE2b-512 of "abc" (RFC 7693, appendix A)."""
    assert hash64(b"abc").to_bytes(8, "little").hex() == "ba80a53f981c4d0d"


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    long = hashes64("web1", 100)
    assert len(set(long)) == 100
    for count in (0, 1, 7, 8, 9, 16):
        assert hashes64("web1", count) == long[:count]


def test_names_that_continue_one_another_share_nothing() -> None:
    assert not set(hashes64("web1", 50)) & set(hashes64("web", 500))


def test_bits_are_even() -> None:
    numbers = hashes64("web1", 4000)
    for bit in range(64):
        assert 1800 < sum(number >> bit & 1 for number in numbers) < 2200

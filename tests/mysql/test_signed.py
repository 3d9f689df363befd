from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import ConfigError
from lbkit.mysql.signed import LONGEST_SIGNED, Signer

SECRET = "correct horse battery"


@given(st.text(max_size=200))
def test_what_was_signed_is_read_until_its_end(text: str) -> None:
    signer = Signer([SECRET], "test")
    signed = signer.sign(text, 100)
    assert signer.read(signed, 100) == text
    assert signer.read(signed, 100.1) == ""


@given(st.integers(0, 200), st.characters())
def test_what_was_changed_anywhere_reads_as_nothing(place: int, by: str) -> None:
    signer = Signer([SECRET], "test")
    signed = signer.sign("uuid:1-7", 100)
    place %= len(signed)
    changed = signed[:place] + by + signed[place + 1 :]
    assert changed == signed or signer.read(changed, 0) == ""


@given(st.text(max_size=100))
def test_whatever_comes_reads_as_nothing(text: str) -> None:
    assert Signer([SECRET], "test").read(text, 0) == ""


def test_another_secret_or_purpose_is_not_accepted_but_an_old_secret_is() -> None:
    signed = Signer([SECRET], "test").sign("text", 100)
    assert Signer(["another secret, long enough"], "test").read(signed, 0) == ""
    assert Signer([SECRET], "another test").read(signed, 0) == ""
    assert Signer([b"the secret after it", SECRET], "test").read(signed, 0) == "text"


def test_what_is_too_long_is_not_looked_at() -> None:
    signer = Signer([SECRET], "test")
    assert signer.read(signer.sign("x" * LONGEST_SIGNED, 100), 0) == ""


@pytest.mark.parametrize("secrets", [[], [""], [SECRET, "short"]])
def test_secrets_that_can_be_guessed_are_refused(secrets: list[str]) -> None:
    with pytest.raises(ConfigError, match="secret: at least 16 bytes"):
        Signer(secrets, "test")


def test_no_secret_is_shown() -> None:
    assert SECRET not in repr(Signer([SECRET], "test"))

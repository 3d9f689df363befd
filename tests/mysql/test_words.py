from __future__ import annotations

import pytest

from lbkit.mysql import words


@pytest.mark.parametrize("name", words.__all__)
def test_words_are_upper_case(name: str) -> None:
    found = getattr(words, name)
    assert found
    assert {word.upper() for word in found} == found


def test_nothing_that_locks_waits_or_tells_of_a_session_counts_as_pure() -> None:
    dangerous = [
        "GET_LOCK",
        "RELEASE_LOCK",
        "RELEASE_ALL_LOCKS",
        "IS_FREE_LOCK",
        "IS_USED_LOCK",
        "LAST_INSERT_ID",
        "FOUND_ROWS",
        "ROW_COUNT",
        "CONNECTION_ID",
        "NEXTVAL",
        "LASTVAL",
        "SETVAL",
        "LOAD_FILE",
        "MASTER_POS_WAIT",
        "MASTER_GTID_WAIT",
        "WAIT_FOR_EXECUTED_GTID_SET",
        "SOURCE_POS_WAIT",
        "BENCHMARK",
        "UUID_SHORT",
    ]
    assert not words.PURE_FUNCTIONS & set(dangerous)
    assert not words.WORDS_BEFORE_PARENTHESIS & set(dangerous)


def test_every_verb_that_reads_never_commits() -> None:
    assert words.READ_VERBS <= words.COMMITTING_SAFE

"""The fast look beside the tokenizer: whatever it says, that says, too."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbkit.mysql.plain import plain_form
from lbkit.mysql.statements import _PLAIN, _by_tokens

TEXT = """`mysql`.`user` `information_schema`.`processlist` SELECT select INSERT UPDATE DELETE REPLACE INTO FROM t `t` `in``to` 'a' 'it''s' "b" FOR SHARE LOCK IN MODE
    count ( ) , . ; = + - -- # /* */ /*! @a := VALUES WITH AS LAST_INSERT_ID GET_LOCK my_function mysql sys
    information_schema tables ſum é 1 1.5 NEXTVAL NEXT VALUE SHOW EXPLAIN ' " ` \\ ? %s OFFSET LIMIT"""
WORDS = [*TEXT.split(), "\n", " -- x\n", "/* lbkit:primary */"]
GAPS = ["", " ", "  ", "\n", "\u00a0"]


@settings(max_examples=2000)
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), max_size=14))
def test_it_says_what_the_tokens_say(words: list[tuple[str, str]]) -> None:
    for start in ("SELECT ", "INSERT INTO t ", ""):
        sql = start + "".join(word + gap for word, gap in words)
        if form := plain_form(sql):
            assert _PLAIN[form] == _by_tokens(sql), sql


@pytest.mark.parametrize(
    ("sql", "form"),
    [
        ("SELECT `a`.`id`, COUNT(*) FROM `a` WHERE `a`.`b` IN (%s, %s) GROUP BY (x)", "SELECT"),
        ("select 'x', \"y\" from t -- the end", "SELECT"),
        ("SELECT /* action='show' */ NOW() FROM t;", "SELECT"),
        ("SELECT `a`.`it's` FROM `b` /* db='mysql' */ WHERE c = '#'", "SELECT"),
        ("SELECT a FROM t WHERE b = 'FOR' FOR UPDATE SKIP LOCKED", "FOR UPDATE"),
        ("SELECT a FROM t FOR SHARE", "FOR SHARE"),
        ("INSERT INTO `t` (`a`) VALUES ('it''s')", "INSERT"),
        ("UPDATE t SET a = a + 1", "UPDATE"),
        ("DELETE FROM t", "DELETE"),
        ("REPLACE INTO t VALUES (1)", "REPLACE"),
    ],
)
def test_what_programs_send_is_plain(sql: str, form: str) -> None:
    assert plain_form(sql) == form


@pytest.mark.parametrize(
    "sql",
    ["", "SELECT @a", "SELECT 'a\\'", "SELECT f(1)", "SELECT 1; SELECT 2", "SELECT 1 INTO x", "SELECT `a` (1)",
     "SELECT 1 /*! INTO x */", "SELECT 1 /* lbkit:primary */", "UPDATE t SET a = LAST_INSERT_ID(1)", "WITH a AS (SELECT 1) SELECT 1",
     "SELECT * FROM mysql.user", "SELECT * FROM `mysql`.user", "SELECT * FROM `mysql`.user -- x",
     "SELECT * FROM `information_schema`.`processlist` /* x */", "# x\nSELECT * FROM `sys`.version", "SELECT é FROM t", "SELECT '\ud800'", "SELECT 'a", "SHOW TABLES"],
)  # fmt: skip
def test_what_is_left_to_the_tokens(sql: str) -> None:
    assert plain_form(sql) == ""

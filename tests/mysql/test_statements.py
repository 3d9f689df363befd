from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.mysql.statements import LONGEST_CACHED, classify

READS = [
    "SELECT 1",
    "select * from note where id = %s",
    "  (SELECT 1) UNION ALL (SELECT 2);",
    "-- a comment\nSELECT 1",
    "SELECT /* FOR UPDATE */ 1 # INTO x\n",
    "SELECT 'FOR UPDATE', \"INTO\", `into` FROM `for update`",
    'SELECT \'it\'\'s\', "a ""quote""", `a``b`',
    "SELECT 1--1",
    "SELECT COUNT(*), MAX(id), CONCAT(a, 'x') FROM note GROUP BY (a) HAVING COUNT(*) > 1",
    "SELECT * FROM a JOIN b USING (id) WHERE a.id IN (1, 2) AND EXISTS (SELECT 1)",
    "SELECT * FROM a USE INDEX (i) WHERE MATCH (x) AGAINST ('y') LIMIT 5",
    "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t",
    "SELECT SUBSTRING('abc' FROM 1 FOR 2), CAST(1 AS DECIMAL(10,2)), INTERVAL(1, 2)",
    "SELECT REPLACE(a, 'x', 'y'), INSERT(a, 1, 2, 'z') FROM t",
    "WITH a AS (SELECT 1 AS x), b (y) AS (SELECT 2) SELECT * FROM a, b",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n",
    "TABLE note",
    "VALUES ROW(1, 2)",
    "SHOW TABLES",
    "SHOW FULL COLUMNS FROM note",
    "SHOW CREATE TABLE note",
    "EXPLAIN SELECT 1",
    "DESCRIBE note",
    "SELECT @@global.read_only, @@server_id, @@hostname",
    "SELECT SLEEP(1)",
    "SELECT id FROM orders FOR_UPDATE",
    "SELECT t.lock, t.value FROM t",
    "SELECT table_name FROM information_schema.tables",
    "SELECT `TABLE_NAME` FROM `information_schema`.`TABLES` JOIN INFORMATION_SCHEMA . COLUMNS",
    "SELECT mysql, sys FROM versions",
    "SELECT t.into, `t` . for FROM t",
    "SELECT 'Zürich', \"a\" /* from: café */ FROM t -- the end",
    "SELECT * FROM t FOR SYSTEM_TIME AS OF NOW()",
    "SELECT /*+ MAX_EXECUTION_TIME(1000) */ 1",
]
WRITES = [
    "",
    ";",
    "INSERT INTO note VALUES (1)",
    "update note set a = 1",
    "DELETE FROM note",
    "REPLACE INTO note VALUES (1)",
    "SELECT 1 FOR UPDATE",
    "SELECT 1 for/**/share",
    "SELECT 1 LOCK IN SHARE MODE",
    "SELECT 1 INTO @x",
    "SELECT * FROM t INTO OUTFILE '/tmp/x'",
    "TABLE t INTO OUTFILE '/tmp/x'",
    "SELECT @x := 1",
    "SELECT @x",
    "SELECT @'x'",
    "SELECT @@session.sql_mode",
    "SELECT @@last_insert_id",
    "SELECT GET_LOCK('a', 1)",
    "SELECT get_lock ('a', 1)",
    "SELECT RELEASE_LOCK('a')",
    "SELECT IS_FREE_LOCK('a')",
    "SELECT LAST_INSERT_ID()",
    "SELECT SQL_CALC_FOUND_ROWS * FROM t",
    "SELECT FOUND_ROWS()",
    "SELECT ROW_COUNT()",
    "SELECT NEXTVAL(s)",
    "SELECT s.nextval",
    "SELECT NEXT VALUE FOR s",
    "SELECT PREVIOUS VALUE FOR s",
    "SELECT my_function(1)",
    "SELECT mysql.count(1)",
    "SELECT `count`(1)",
    "SELECT 1; DELETE FROM note",
    "SELECT 1; SELECT 2",
    "/*! DELETE FROM note */",
    "SELECT 1 /*!50000 INTO @x */",
    "SELECT 1 /*M! FOR UPDATE */",
    "WITH a AS (SELECT 1) UPDATE note SET x = 1",
    "WITH a AS (SELECT 1) DELETE FROM note",
    "WITH a AS (SELECT 1)",
    "WITH a (x) AS (SELECT write_it(1)) SELECT * FROM a",
    "SHOW MASTER STATUS",
    "SHOW WARNINGS",
    "SHOW PROCESSLIST",
    "EXPLAIN ANALYZE DELETE FROM note",
    "BEGIN",
    "COMMIT",
    "SET @a = 1",
    "CALL p()",
    "DO SLEEP(1)",
    "LOCK TABLES t READ",
    "SELECT 'a\\' FOR UPDATE -- '",
    "SELECT 'not closed",
    "SELECT `not closed",
    "SELECT 1 /* not closed",
    "LOAD DATA INFILE 'x' INTO TABLE t",
    "SELECT * FROM`t`FOR UPDATE",
    "SELECT a FROM t WHERE a = 'x'INTO OUTFILE '/tmp/x'",
    "SELECT db . count(1)",
    "SELECT `db`. count (1)",
    "SELECT `db`.count(1)",
    'SELECT "count"(1)',
    "SELECT ſum(1)",
    "SELECT a FROM t WHERE a = 1.FOR UPDATE",
    "SELECT a FROM t WHERE a = 1e5FOR SHARE",
    "SELECT a, 1.INTO OUTFILE 'x'",
    "SELECT a FROM t FOR\u00a0UPDATE",
    "SELECT * FROM information_schema.processlist",
    "SELECT * FROM `information_schema`.`INNODB_TRX`",
    "SELECT * FROM performance_schema.threads",
    "SELECT * FROM mysql.slow_log",
    "SELECT * FROM `sys`.`session`",
    "SELECT 1 /* lbkit:primary */",
    "/*lbkit:PRIMARY*/ SELECT 1",
    "SELECT count(*) FROM t FOR UPDATE OF t SKIP LOCKED",
    "PREPARE p FROM 'SELECT 1'",
    "EXECUTE p",
    "XA START 'x'",
    "HANDLER t OPEN",
    "START TRANSACTION READ ONLY",
    "USE other",
]


@pytest.mark.parametrize("sql", READS)
def test_reads(sql: str) -> None:
    statement = classify(sql)
    assert statement.reads, statement.reason
    assert not statement.changes_session
    assert not statement.may_commit
    assert statement.reason == "a plain read"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 --\xa0x.f(1)",  # a name begins with this blank, and no comment does
        "SELECT 1 --\x7f '\nFOR UPDATE -- '",  # a comment for MySQL, to which delete is a control character
        "SELECT 1 --\x7f '\nFOR UPDATE -- ' # `a`(",
    ],
)
def test_what_is_a_comment_is_the_servers_to_say(sql: str) -> None:
    assert not classify(sql).reads


@pytest.mark.parametrize("sql", WRITES)
def test_everything_else_goes_to_the_primary_and_says_why(sql: str) -> None:
    statement = classify(sql)
    assert not statement.reads
    assert statement.reason


@pytest.mark.parametrize(
    "sql",
    [
        "SET @a = 1",
        "SET SESSION sql_mode = ''",
        "SELECT @a := 1",
        "INSERT INTO t VALUES (@a := 1)",
        "UPDATE t SET id = LAST_INSERT_ID(id + 1)",
        "SELECT GET_LOCK('a', 1)",
        "INSERT INTO t SELECT GET_LOCK('a', 1)",
        "CREATE TEMPORARY TABLE t (a INT)",
        "LOCK TABLES t READ",
        "CALL p()",
        "SELECT SQL_CALC_FOUND_ROWS 1",
        "SELECT my_function()",
        "USE other",
        "/*! SET @a = 1 */",
        "DELETE FROM t; SET @a = 1",
    ],
)
def test_what_changes_the_session(sql: str) -> None:
    assert classify(sql).changes_session


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (%s)",
        "UPDATE t SET a = NOW()",
        "SELECT 1 FOR UPDATE",
        "CREATE TABLE t (a INT)",
        "DROP TABLE t",
        "SELECT LAST_INSERT_ID()",
    ],
)
def test_what_leaves_the_session_as_it_was(sql: str) -> None:
    statement = classify(sql)
    assert not statement.reads
    # A function that is not known to be harmless costs a reset, and nothing more.
    assert statement.changes_session is ("LAST_INSERT_ID" in sql)


@pytest.mark.parametrize(
    "sql", ["COMMIT", "CREATE TABLE t (a INT)", "BEGIN", "SET autocommit = 1", "CALL p()", ""]
)
def test_what_may_commit(sql: str) -> None:
    assert classify(sql).may_commit


@pytest.mark.parametrize(
    "sql", ["INSERT INTO t VALUES (1)", "SELECT 1 FOR UPDATE", "SAVEPOINT a", "DELETE FROM t"]
)
def test_what_never_commits(sql: str) -> None:
    assert not classify(sql).may_commit


@given(st.text())
def test_any_text_gets_an_answer(sql: str) -> None:
    classify(sql)


NOISE = st.sampled_from([" ", "\n", "\t", " /* FOR UPDATE */ ", " -- INTO\n", " # ;\n"])
LOCKING = ["SELECT", "a", "FROM", "t", "FOR", "UPDATE"]


@given(st.lists(NOISE, min_size=len(LOCKING), max_size=len(LOCKING)), st.data())
def test_comments_and_case_hide_nothing(gaps: list[str], data: st.DataObject) -> None:
    words = [data.draw(st.sampled_from([word, word.lower()])) for word in LOCKING]
    parts = [word + gap for word, gap in zip(words, gaps, strict=True)]
    assert not classify("".join(parts)).reads
    assert classify("".join(parts[:4])).reads


@given(st.text(alphabet=st.characters(exclude_characters="'\\")))
def test_what_stands_in_a_string_does_not_count(text: str) -> None:
    assert classify(f"SELECT '{text}'").reads


@given(st.sampled_from(["'", '"', "`"]), st.text(alphabet="ab '\"`;\n"))
def test_a_second_statement_is_never_taken_for_a_read(quote: str, text: str) -> None:
    inner = text.replace(quote, quote * 2)
    assert not classify(f"SELECT {quote}{inner}{quote}; DELETE FROM t").reads


def test_long_texts_are_not_kept() -> None:
    assert not classify("INSERT INTO t VALUES " + "(1)," * LONGEST_CACHED).reads


def test_answers_are_cached() -> None:
    sql = "SELECT 'cached once'"
    assert classify(sql) is classify(sql)


@pytest.mark.parametrize(
    "sql", ["SHOW OPEN TABLES", "EXPLAIN FOR CONNECTION 5", "explain format=json for connection 5"]
)
def test_what_only_one_server_knows_goes_to_the_primary(sql: str) -> None:
    assert not classify(sql).reads

from __future__ import annotations

from lbkit.mysql.results import Result, Row, Rows


def test_a_row_is_a_dict_that_knows_its_server() -> None:
    row = Row(zip(["a", "b"], [1, 2], strict=True), "db1")
    assert row == {"a": 1, "b": 2}
    assert row.server == "db1"


def test_rows_know_their_server_even_when_empty() -> None:
    assert Rows((), "db2").server == "db2"
    assert Rows([Row({"a": 1}, "db1")], "db1") == [{"a": 1}]


def test_result() -> None:
    assert Result(1, 7, "db1") == Result(affected=1, last_id=7, server="db1")

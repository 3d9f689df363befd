from __future__ import annotations

from click.testing import CliRunner

from lbkit.cli import cli


def route(text: bytes) -> list[list[str]]:
    result = CliRunner().invoke(cli, ["mysql", "route"], input=text)
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.output.splitlines()]


def test_each_line_has_its_answer() -> None:
    text = b"SELECT 1\r\n\nSELECT 1 FOR UPDATE\nSELECT 1 -- \xff\nINSERT INTO t VALUES ('\xff')\nSELECT 'a"
    assert route(text) == [
        ["replica", "a plain read"],
        ["primary", "an empty statement is not a read"],
        ["primary", "FOR UPDATE takes locks"],
        ["replica", "a plain read"],
        ["primary", "INSERT is not a read"],
        ["primary", "a quote or comment that is not closed"],
    ]


def test_no_line_no_answer() -> None:
    assert route(b"") == []

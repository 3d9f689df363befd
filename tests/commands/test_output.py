from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lbkit.commands.output import chosen, json_option, progress_bars, table_console, wants_table, write_json
from lbkit.errors import ConfigError, StartFailed


def test_json_goes_to_a_file_or_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.json"
    write_json({"a": 1}, file)
    write_json({"a": 1}, Path("-"))
    assert json.loads(file.read_text()) == json.loads(capsys.readouterr().out) == {"a": 1}
    assert [wants_table(where) for where in (None, file, Path("-"))] == [True, True, False]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="x.json: cannot be written: no such file or directory"):
        write_json({}, tmp_path / "no" / "x.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, tmp_path / "x.json")


def test_the_option() -> None:
    @click.command()
    @json_option
    def command(json_file: Path | None) -> None:
        click.echo(repr(json_file))

    assert CliRunner().invoke(command, []).output == "None\n"
    assert "a.json" in CliRunner().invoke(command, ["--json", "a.json"]).output


def test_a_pipe_has_room_for_a_table_and_no_bars() -> None:
    assert table_console().width == 160
    assert progress_bars().disable


def test_algorithms_are_named_once_and_known() -> None:
    assert chosen(("random", "maglev", "random")) == ["random", "maglev"]
    with pytest.raises(ConfigError, match='unknown algorithm "randm"'):
        chosen(("randm",))

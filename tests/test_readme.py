"""What the README says is true: its code runs, its configuration is valid, its commands and files exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lbkit.cli import cli
from lbkit.config import loads
from lbkit.runtime import catalog

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("text", blocks("toml"))
def test_toml_is_valid(text: str) -> None:
    config = loads(text, catalog())
    assert config.pools or config.mysql


@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.splitlines()])
def test_commands_exist(line: str) -> None:
    program, command, *rest = shlex.split(line, comments=True)
    if program == "curl":
        assert "127.0.0.1:8404/pools/app" in line
    elif program == "make":
        assert re.search(
            rf"^([a-z-]+ )*{command}[ a-z-]*:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
        )
    else:
        assert program == "lbkit"
        is_group = isinstance(cli.commands[command], click.Group)
        words = [command, *rest[:1]] if is_group else [command]
        assert CliRunner().invoke(cli, [*words, "--help"]).exit_code == 0
        options = set(re.findall(r" (--[a-z]+)", line.partition("#")[0]))
        help_text = CliRunner().invoke(cli, [*words, "--help"]).output
        assert all(option in help_text for option in options), line


def test_files_and_pictures_exist() -> None:
    named = re.findall(r'\]\((docs/[^)]+)\)|src="(docs/[^"]+)"', README)
    assert len(named) == 9
    for path in (one or other for one, other in named):
        assert (ROOT / path).is_file()


def test_the_codemap_names_every_part() -> None:
    parts = {path.name for path in (ROOT / "lbkit").iterdir() if not path.name.startswith(("_", "py.typed"))}
    table = set(re.findall(r"`([a-z_]+)(?:/|\.py)`", README))
    assert {part.removesuffix(".py") for part in parts} <= table

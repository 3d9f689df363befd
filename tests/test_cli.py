from __future__ import annotations

import socket
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from lbkit import __version__
from lbkit.__main__ import main
from lbkit.balancing import ALGORITHMS
from lbkit.checks import CHECKS
from lbkit.cli import _files_table, cli
from lbkit.relay import RELAYS
from tests.support.processes import ROOT, run_lbkit


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["check"], ["up"], ["static"], ["app"], ["mysql"], ["mysql", "up"], ["list"], ["certs"]],
)
def test_help_teaches_every_command(command: list[str]) -> None:
    result = CliRunner().invoke(cli, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_list_shows_every_part_with_its_options() -> None:
    result = CliRunner().invoke(cli, ["list"])
    for name in (*ALGORITHMS, *CHECKS, *RELAYS, "failback", "expect"):
        assert name in result.output


def test_windows_is_refused_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="on Windows use WSL"):
        main()


def test_version() -> None:
    assert __version__ in run_lbkit("--version").stdout


def test_check_says_that_a_file_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "fine.toml"
    file.write_text(
        '[listeners.a]\nlisten = "127.0.0.1:80"\npool = "p"\n[pools.p]\nservers = [{name = "x", address = "a:1"}]'
    )
    result = run_lbkit("check", str(file))
    assert (result.returncode, result.stdout) == (0, f"{file}: fine: 1 listeners, 1 pools, 1 servers\n")


def check_error(code: int, expected: list[str], *arguments: str) -> None:
    result = run_lbkit(*arguments)
    assert (result.returncode, result.stderr.splitlines()) == (code, expected)


def test_every_problem_of_a_file_is_one_line_and_the_exit_code_is_2(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[listeners.a]\nlisten = "80"\npool = "q"\n[pools.p]\nretrys = 1')
    expected = [
        f'lbkit: {file}: listeners.a.listen: "80" is not an address: expected "host:port"',
        f'lbkit: {file}: pools.p.retrys: unknown key (did you mean "retries"?)',
        f'lbkit: {file}: listeners.a.pool: there is no pool "q" (known: p)',
        f"lbkit: {file}: pools.p.servers: a pool needs at least one server",
    ]
    check_error(2, expected, "check", str(file))
    check_error(2, expected, "run", str(file))


def test_a_missing_file() -> None:
    check_error(2, ["lbkit: nope.toml: cannot be read: no such file or directory"], "run", "nope.toml")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--listen", "8080", "--server", "a:1"], '--listen: "8080" is not an address: expected "host:port"'),
        (["--listen", "a:1", "--server", "b"], '--server: "b" is not an address: expected "host:port"'),
        (
            ["--listen", "a:1", "--server", "b:1", "--algorithm", "rond_robin"],
            '--algorithm: unknown algorithm "rond_robin" (did you mean "round_robin"? known: '
            + ", ".join(ALGORITHMS)
            + ")",
        ),
        (
            ["--listen", "a:1", "--server", "b:1", "--check", "htp"],
            '--check: unknown check "htp" (did you mean "http"? known: ' + ", ".join(CHECKS) + ")",
        ),
        (
            ["--listen", "a:1", "--server", "b:1", "--tls-certificate", "none.pem"],
            "--tls-certificate: none.pem cannot be read: no such file or directory",
        ),
        (["--listen", "a:1", "--server", "b:1", "--tls-key", "x"], "--tls-key needs --tls-certificate"),
        (["--listen", "a:1"], "both --listen and --server are needed"),
        ([], "give either FILE, or --listen and --server (see lbkit run --help)"),
        (["x.toml", "--mode", "http"], "give either FILE, or --listen and --server (see lbkit run --help)"),
        (["--mode", "http"], "both --listen and --server are needed"),
        (["x.toml", "--listen", "a:1"], "give either FILE, or --listen and --server (see lbkit run --help)"),
    ],
)
def test_wrong_flags_are_named(arguments: list[str], line: str) -> None:
    check_error(2, [f"lbkit: {line}"], "run", *arguments)


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        line = f"lbkit: cannot listen on 127.0.0.1:{port}: it is in use by another program; stop it or choose another port"
        check_error(1, [line], "run", "--listen", f"127.0.0.1:{port}", "--server", "127.0.0.1:1")


def test_a_static_folder_that_is_not_there() -> None:
    check_error(2, [f'lbkit: DIR: "{ROOT / "nope"}" is not a folder'], "static", str(ROOT / "nope"))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--not-found", "404.html"], '--not-found: "404.html" must start with "/", which is the folder'),
        (
            ["--cache-control", "max-age=1"],
            '--cache-control: "max-age=1" is not as "/assets/*=max-age=3600": a pattern, "=" and a value',
        ),
    ],
)
def test_wrong_options_of_a_static_folder(options: list[str], line: str) -> None:
    check_error(2, [f"lbkit: {line}"], "static", str(ROOT), *options)


def test_the_options_of_a_static_folder_are_the_key_files() -> None:
    rules = ("/assets/*=max-age=60, immutable", '*.html=private="a\\b"', "/assets/*=late")
    table = tomllib.loads(_files_table(True, True, "/404.html", rules))["files"]
    assert table == {
        "autoindex": True,
        "not_found": "/404.html",
        "try_files": ["${path}", "${path}/", "/index.html"],
        "cache_control": {"/assets/*": "max-age=60, immutable", "*.html": 'private="a\\b"'},
    }
    assert tomllib.loads(_files_table(False, False, "", ()))["files"]["try_files"] == []


def test_an_unknown_algorithm_of_the_stack() -> None:
    check_error(
        2,
        ['lbkit: --algorithm: unknown algorithm "x" (known: ' + ", ".join(ALGORITHMS) + ")"],
        "up",
        "--algorithm",
        "x",
    )


def test_the_nearest_algorithm_of_the_stack_is_named() -> None:
    known = ", ".join(ALGORITHMS)
    line = f'lbkit: --algorithm: unknown algorithm "rond_robin" (did you mean "round_robin"? known: {known})'
    check_error(2, [line], "up", "--algorithm", "rond_robin")


def test_one_address_twice_in_the_stack(tmp_path: Path) -> None:
    address = "127.0.0.1:18080"
    line = f"lbkit: the balancer and its /metrics cannot both listen on {address}"
    arguments = ["--dir", str(tmp_path), "--listen", address, "--admin", address]
    check_error(2, [line], "up", "--no-mysql", *arguments)


def test_wrong_usage_exits_2() -> None:
    assert run_lbkit("nope").returncode == 2
    assert run_lbkit("up", "--replicas", "-1").returncode == 2


MINE = """
import random
from lbkit.balancing import ALGORITHMS, Balancer
from lbkit.registry import NoOptions

@ALGORITHMS.register(NAME)
class Last(Balancer):
    \"\"\"The last one in the list.\"\"\"
    def __init__(self, options, rng):
        super().__init__(options, rng)
        self._candidates = ()
    def update(self, candidates, now):
        self._candidates = candidates
    def pick(self, now, key=None, exclude=()):
        left = [server for server in self._candidates if server not in exclude]
        return left[-1] if left else None
"""


def test_an_algorithm_of_ones_own_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "random.py"
    file.write_text(MINE.replace("NAME", '"mine"'))
    listed = run_lbkit("--load", str(file), "list")
    assert "The last one in the list." in listed.stdout
    config = tmp_path / "lb.toml"
    config.write_text(
        '[listeners.l]\nlisten = "127.0.0.1:1"\npool = "p"\n[pools.p]\nalgorithm = "mine"\n'
        '[[pools.p.servers]]\nname = "a"\naddress = "127.0.0.1:2"\n'
    )
    assert run_lbkit("--load", str(file), "check", str(config)).returncode == 0
    assert 'unknown algorithm "mine"' in run_lbkit("check", str(config)).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("def", "line 1: invalid syntax"),
        ("\nx = 1 / 0", "ZeroDivisionError: division by zero ({file}, line 2)"),
        (MINE.replace("NAME", '"random"'), "ValueError: algorithm 'random' is registered twice"),
    ],
)
def test_a_file_that_cannot_be_loaded(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    result = run_lbkit("--load", str(file), "list")
    assert result.returncode == 2
    assert message.format(file=file) in result.stderr
    assert result.stderr.startswith("lbkit: --load ")
    assert len(result.stderr.splitlines()) == 1

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from lbkit.cli import cli
from lbkit.errors import ConfigError, StartFailed

TEXT = """
[listeners.web]
listen = "LISTEN"
pool = "p"
MORE
[listeners.web.firewall]
deny_file = "bad.txt"
connection_rate = "10/s"
[[pools.p.servers]]
name = "a"
address = "127.0.0.1:9001"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bad.txt").write_text("192.0.2.0/24\n")
    return tmp_path


def write(folder: Path, listen: str = "0.0.0.0:8080", more: str = "") -> str:
    file = folder / "lbkit.toml"
    file.write_text(TEXT.replace("LISTEN", listen).replace("MORE", more))
    return str(file)


def export(*arguments: str) -> str:
    shown = CliRunner().invoke(cli, ["firewall", "export", *arguments], catch_exceptions=False)
    assert shown.exit_code == 0
    return shown.output


def test_to_standard_output_and_to_a_file(folder: Path) -> None:
    file = write(folder)
    shown = export(file)
    assert "192.0.2.0-192.0.2.255" in shown
    assert f"as in {file}," in shown
    assert "tcp dport 8080" in shown
    assert export(file, "-o", str(folder / "out.nft")) == ""
    assert (folder / "out.nft").read_text() == shown
    assert "delete table inet mine" in export(file, "--table", "mine")


@pytest.mark.parametrize(
    ("listen", "more", "reason"),
    [
        ("127.0.0.1:0", "", "its port is 0"),
        ("localhost:80", "", '"localhost" is a name: listen on an IP address'),
        ("unix:/run/l.sock", "", "it listens on a Unix socket"),
        (
            "127.0.0.1:80",
            'proxy_protocol = true\nproxy_protocol_from = ["127.0.0.1"]',
            "its clients are told by PROXY headers",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_the_file_and_at_the_terminal(
    folder: Path, listen: str, more: str, reason: str
) -> None:
    file = write(folder, listen, more)
    assert f"# no rules: {reason}" in export(file)
    assert reason in export(file, "-o", str(folder / "out.nft"))


def test_mistakes(folder: Path) -> None:
    file = write(folder)
    for arguments, error in (
        ([file, "--table", "a b"], "is not a name of letters"),
        ([str(folder / "none.toml")], "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=error):
            export(*arguments)
    with pytest.raises(StartFailed, match="cannot be written: no such file or directory"):
        export(file, "-o", str(folder / "no" / "out.nft"))
    (folder / "lbkit.toml").write_text('[admin]\nlisten = "127.0.0.1:1"')
    with pytest.raises(ConfigError, match="no listener has a firewall"):
        export(file)


def test_its_help_teaches() -> None:
    shown = CliRunner().invoke(cli, ["firewall", "export", "--help"]).output
    assert "nft --check --file lbkit.nft" in shown
    assert "nft delete table inet lbkit" in shown

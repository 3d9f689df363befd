from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.cluster import database
from lbkit.cluster.database import Flavour, ServerProgram, find_server
from lbkit.cluster.packages import ArchiveUnreachable
from lbkit.cluster.report import LineReport
from lbkit.errors import StartFailed

MYSQL = "mysqld  Ver 9.7.4 for Linux on x86_64 (MySQL Community Server - GPL)"
OLD_MYSQL = "mysqld  Ver 5.7.44 for Linux on x86_64"
MARIADB = "mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with only what a test puts on its PATH, and nothing fetched."""
    monkeypatch.delenv("LBKIT_MYSQLD", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("LBKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(database, "SYSTEM_FOLDERS", ())
    monkeypatch.setattr(database, "APPARMOR", tmp_path / "apparmor")
    return tmp_path


def install(folder: Path, name: str, answer: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    return program


def test_a_name_tells_nothing(machine: Path) -> None:
    install(machine, "mysqld", MARIADB)
    program = find_server()
    assert (program.flavour, program.version) == ("mariadb", (10, 11, 6))
    assert str(program) == f"MariaDB 10.11.6 ({machine}/mysqld)"


def test_the_flavour_that_is_asked_for(machine: Path) -> None:
    install(machine, "mysqld", MYSQL)
    install(machine, "mariadbd", MARIADB)
    assert find_server().flavour == "mysql"
    assert find_server("mysql").path == machine / "mysqld"
    assert find_server("mariadb").path == machine / "mariadbd"


def test_the_environment_comes_first(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(machine, "mysqld", MYSQL)
    own = install(machine, "my-own-server", MARIADB)
    monkeypatch.setenv("LBKIT_MYSQLD", str(own))
    assert find_server().path == own
    assert find_server("mysql").path == machine / "mysqld"


@pytest.mark.parametrize(
    ("answer", "says"),
    [("hello", "is not a database server"), (OLD_MYSQL, r"is mysql 5\.7\.44, at least 8\.0\.26 is needed")],
)
def test_a_wrong_environment_is_one_clear_line(
    machine: Path, monkeypatch: pytest.MonkeyPatch, answer: str, says: str
) -> None:
    monkeypatch.setenv("LBKIT_MYSQLD", str(install(machine, "odd", answer)))
    with pytest.raises(StartFailed, match=f"LBKIT_MYSQLD=.*odd: {says}"):
        find_server()


def test_an_environment_that_names_nothing(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBKIT_MYSQLD", "/no/such/mysqld")
    with pytest.raises(StartFailed, match="LBKIT_MYSQLD=/no/such/mysqld is not a program"):
        find_server()


def test_what_cannot_be_used_is_left_out_and_said(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(machine, "mysqld", OLD_MYSQL)
    install(machine, "mariadbd", MARIADB)
    assert find_server(report=LineReport()).flavour == "mariadb"
    assert "leaving out" in capsys.readouterr().err


@pytest.mark.parametrize(("rules", "used"), [("# empty\n", True), ("/usr/sbin/mysqld {\n}\n", False)])
def test_a_server_that_apparmor_confines_is_left_out(machine: Path, rules: str, used: bool) -> None:
    install(machine, "mariadbd", MARIADB)
    confined = install(machine, "mysqld", MYSQL)
    (machine / "apparmor").mkdir()
    (machine / "apparmor" / ".".join(confined.resolve().parts[1:])).write_text(rules)
    assert find_server().flavour == ("mysql" if used else "mariadb")


def test_with_none_here_mysql_is_fetched_and_mariadb_only_after_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Flavour] = []

    def fetched(flavour: Flavour, report: object) -> ServerProgram:
        tried.append(flavour)
        if flavour == "mysql":
            raise StartFailed("could not get mysql")
        return ServerProgram(Path("/x"), "mariadb", (10, 11, 6))

    monkeypatch.setattr(database, "_fetched", fetched)
    assert find_server().flavour == "mariadb"
    assert tried == ["mysql", "mariadb"]
    with pytest.raises(StartFailed, match="could not get mysql"):
        find_server("mysql")


def test_without_a_network_nothing_else_is_tried(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Flavour] = []

    def fetched(flavour: Flavour, report: object) -> ServerProgram:
        tried.append(flavour)
        raise ArchiveUnreachable("no network")

    monkeypatch.setattr(database, "_fetched", fetched)
    with pytest.raises(ArchiveUnreachable):
        find_server()
    assert tried == ["mysql"]


def test_real_servers_know_where_their_files_are(flavour: Flavour) -> None:
    program = find_server(flavour, LineReport())
    assert program.flavour == flavour
    assert program.version >= database.OLDEST[flavour]
    assert program.options[0] == "--no-defaults"
    assert (program.share / "english" / "errmsg.sys").is_file()


def test_an_incomplete_installation(machine: Path) -> None:
    program = ServerProgram(install(machine, "mysqld", MYSQL), "mysql", (9, 7, 4))
    with pytest.raises(StartFailed, match="incomplete"):
        assert program.share

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import run_lbkit

CONFIG = """
[listeners.web]
listen = "127.0.0.1:8080"
mode = "http"
pool = "app"
[pools.app]
algorithm = "{algorithm}"
{servers}
"""


def config(path: Path, algorithm: str, *names: str) -> Path:
    servers = "".join(
        f'[[pools.app.servers]]\nname = "{name}"\naddress = "127.0.0.1:{9000 + ord(name)}"\n'
        for name in names
    )
    path.write_text(CONFIG.format(algorithm=algorithm, servers=servers))
    return path


def log_line(number: int, **changes: Any) -> str:
    return json.dumps(
        {
            "time": f"2026-11-25T10:00:{number // 100:02}.{number % 100:02}0Z",
            "client": f"10.0.0.{number % 20}",
            "target": "/",
            "host": "h",
            "status": 200,
            "pool": "app",
            "server": "ab"[number % 2],
            "served": 0.02,
            "duration": 0.021,
            **changes,
        }
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    config(tmp_path / "old.toml", "round_robin", "a", "b")
    config(tmp_path / "new.toml", "least_connections", "a", "b", "c")
    lines = [log_line(number) for number in range(2000)]
    (tmp_path / "access.log").write_text("\n".join(lines) + "\n")
    return tmp_path


def plan(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_lbkit("plan", "new.toml", "--trace", "access.log", *arguments, cwd=folder)


def test_old_and_new_with_and_without_the_busiest(files: Path) -> None:
    result = plan(files, "--old", "old.toml")
    assert result.returncode == 0, result.stderr
    for label in (
        "the log, as measured",
        "the log, as simulated",
        "old.toml",
        "old.toml without ",
        "new.toml",
        "new.toml without ",
    ):
        assert label in result.stdout
    assert "gone" in result.stdout
    assert result.stderr == ""


def test_long_names_of_files_are_cut_at_their_beginning(files: Path) -> None:
    for name in ("old", "new"):
        folder = files / f"{name}-of-the-configurations-that-we-keep"
        folder.mkdir()
        (files / f"{name}.toml").rename(folder / "the-configuration-of-the-edge-balancers.toml")
    old, new = (f"{name}-of-the-configurations-that-we-keep/" for name in ("old", "new"))
    file = "the-configuration-of-the-edge-balancers.toml"
    shown = run_lbkit("plan", new + file, "--trace", "access.log", "--old", old + file, cwd=files).stdout
    assert "│ old …the-edge-balancers.toml " in shown
    assert "│ new …the-edge-balancers.toml without " in shown
    assert max(map(len, shown.splitlines()[:10])) <= 80


def test_json(files: Path) -> None:
    result = plan(files, "--old", "old.toml", "--json", "-")
    rows = json.loads(result.stdout)["pools"]["app"]
    assert [row["gone"] is not None for row in rows] == [False, False, False, True, False, True]
    assert all(row["requests"] == 2000 for row in rows)
    new = {server["name"]: server["picks"] for server in rows[4]["simulation"]["servers"]}
    assert sum(new.values()) == 2000
    assert min(new.values()) > 500
    assert plan(files, "--json", "-", "--old", "old.toml").stdout == result.stdout, "the same seed"


def test_broken_lines_are_told_and_counted(files: Path) -> None:
    log = files / "access.log"
    log.write_text(
        log.read_text()
        + "{\nwhat\n"
        + log_line(1999, pool="other")
        + "\n"
        + log_line(1999, pool="", server="")
    )
    result = plan(files)
    assert result.returncode == 0
    lines = result.stderr.splitlines()
    assert lines[0].startswith("lbkit: access.log:2001: not JSON")
    assert lines[1].startswith("lbkit: access.log:2002: neither")
    assert lines[2:] == [
        "lbkit: access.log: 2 lines skipped, 2002 requests read",
        'lbkit: access.log: 1 requests left out: pool "other" is not planned for',
        "lbkit: access.log: 1 requests left out: no pool was asked for them",
    ]


def test_nginx(files: Path) -> None:
    lines = [
        f'10.0.0.{i % 9} - - [25/Nov/2026:10:00:{i // 100:02} +0000] "GET / HTTP/1.1" 200 5 "-" "x" '
        f"rt=0.021 urt=0.020 ua=127.0.0.1:{9000 + ord('ab'[i % 2])}"
        for i in range(2000)
    ]
    (files / "access.log").write_text("\n".join(lines))
    result = plan(files, "--json", "-")
    rows = json.loads(result.stdout)["pools"]["app"]
    servers = {server["name"]: server["picks"] for server in rows[1]["simulation"]["servers"]}
    assert servers == {"a": 1000, "b": 1000}, "the address is known by its name"


def test_nginx_with_one_address_in_two_pools(files: Path) -> None:
    other = '[pools.other]\n[[pools.other.servers]]\nname = "x"\naddress = "127.0.0.1:9097"\n'
    (files / "new.toml").write_text((files / "new.toml").read_text() + other)
    line = '10.0.0.1 - - [25/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "x" 0.021 127.0.0.1:9097\n'
    (files / "access.log").write_text(line)
    rows = json.loads(plan(files, "--json", "-", "--pool", "app").stdout)["pools"]["app"]
    assert [server["name"] for server in rows[1]["simulation"]["servers"]] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--pool", "ap"), '--pool: new.toml has no pool "ap" (did you mean "app"?)'),
        (("--old", "none.toml"), "none.toml: cannot be read: no such file or directory"),
        (("--json", "no/where.json"), "no/where.json: cannot be written: no such file or directory"),
    ],
)
def test_wrong_usage(files: Path, arguments: tuple[str, ...], problem: str) -> None:
    result = plan(files, *arguments)
    assert result.returncode == (1 if "--json" in arguments else 2)
    assert problem in result.stderr


def test_a_log_without_requests_for_it(files: Path) -> None:
    (files / "access.log").write_text(log_line(0, pool="other"))
    result = plan(files)
    assert result.returncode == 2
    assert "access.log: no request is for a pool of new.toml" in result.stderr
    (files / "access.log").write_text("what\n")
    assert "access.log: has no request" in plan(files).stderr


def test_a_log_in_which_nobody_answered_tells_nothing_about_servers(files: Path) -> None:
    lines = [log_line(i, status=503, server="", served=0.0) for i in range(9)]
    (files / "access.log").write_text("\n".join(lines))
    result = plan(files)
    assert result.returncode == 2
    assert 'no server answered a request for pool "app": nothing to plan with' in result.stderr


def test_better_knowledge_of_the_servers(files: Path) -> None:
    tight = json.loads(plan(files, "--json", "-", "--concurrency", "1").stdout)["pools"]["app"]
    wide = json.loads(plan(files, "--json", "-", "--concurrency", "100").stdout)["pools"]["app"]
    assert tight[-1]["p99_s"] >= wide[-1]["p99_s"]

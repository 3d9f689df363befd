from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lbkit.bench import contenders
from lbkit.bench.contenders import Contender, find_program, select, server, started
from lbkit.bench.usage import members
from lbkit.cluster import packages
from lbkit.cluster.report import Silent
from lbkit.errors import ConfigError, StartFailed
from lbkit.relay import RELAYS
from lbkit.relay.stream import StreamRelay
from lbkit.server import Address
from tests.support.processes import wait_until

HERE = Address("127.0.0.1", 1)


def test_who_is_there() -> None:
    selection = select(Silent(), fetch=False)
    keys = [one.key for one in selection.contenders]
    assert keys[:2] == ["none", "auto"]
    assert keys[-1] == "naive"
    assert {"stream", "haproxy", "nginx", "proxy.py"} <= {*keys, *selection.passed_over}
    assert not {*keys} & {*selection.passed_over}
    shown = {one.key: str(one) for one in selection.contenders}
    assert shown["none"] == "no proxy"
    assert 'relay = "auto", one process)' in shown["auto"]


def test_only_some_and_none_that_is_unknown() -> None:
    assert [one.key for one in select(Silent(), keys=["naive", "none"]).contenders] == ["none", "naive"]
    with pytest.raises(
        ConfigError, match=r'--path: unknown path "steam" \(did you mean "stream"\? known: auto'
    ):
        select(Silent(), keys=["steam"])


def test_a_relay_that_does_not_work_here_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamRelay, "unsupported", classmethod(lambda cls: "not on a Tuesday"))
    selection = select(Silent(), keys=["stream"])
    assert (selection.contenders, selection.passed_over) == ([], {"stream": "not on a Tuesday"})
    assert "stream" in RELAYS


def test_missing_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    passed_over = select(Silent(), fetch=False, keys=["haproxy", "nginx"]).passed_over
    assert passed_over["haproxy"] == "is not installed: apt-get install haproxy"
    assert passed_over["nginx"].endswith("apt-get install nginx libnginx-mod-stream")
    assert find_program("wrk", Silent(), fetch=False) is None


def test_missing_programs_are_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[packages.Wanted] = []

    def fetch(wanted: packages.Wanted, report: object = None) -> packages.Prefix:
        asked.append(wanted)
        (tmp_path / "bin").mkdir(exist_ok=True)
        program = tmp_path / "bin" / wanted.name
        program.write_text("#!/bin/sh\necho 'nginx version: nginx/9.8.7' >&2\n")
        program.chmod(0o755)
        return packages.Prefix(tmp_path)

    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    monkeypatch.setattr(packages, "fetch", fetch)
    (nginx,) = select(Silent(), keys=["nginx"]).contenders
    assert nginx.version == "9.8.7"
    assert asked[0].packages == ("nginx", "libnginx-mod-stream")
    assert find_program("wrk", Silent()) == str(tmp_path / "bin/wrk")
    assert nginx.command is not None
    nginx.command(HERE, HERE, tmp_path)
    module = f"load_module {tmp_path}/root/usr/lib/nginx/modules/ngx_stream_module.so;\n"
    assert module in (tmp_path / "nginx.conf").read_text()


def test_what_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(wanted: packages.Wanted, report: object = None) -> packages.Prefix:
        raise StartFailed("no network")

    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    monkeypatch.setattr(packages, "fetch", fetch)
    assert select(Silent(), keys=["haproxy", "nginx"]).passed_over == {
        "haproxy": "no network",
        "nginx": "no network",
    }
    assert find_program("wrk", Silent()) is None


def fetched(address: Address) -> bytes:
    with socket.create_connection((address.host, address.port), timeout=10) as sock:
        sock.sendall(b"GET /small HTTP/1.1\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize("key", ["none", "stream", "haproxy", "nginx", "naive"])
def test_each_leads_to_the_server_and_leaves_no_process(key: str, tmp_path: Path) -> None:
    selection = select(Silent(), keys=[key])
    if selection.passed_over:
        pytest.skip(f"{key} {selection.passed_over[key]}")
    (contender,) = selection.contenders
    with server() as address, started(contender, address, tmp_path / "files") as route:
        assert fetched(route.address).endswith(b"\r\n\r\n" + b"x" * 612)
        route.require_alive()
        assert route.group == 0 or route.group in members(route.group)
    if route.group:
        wait_until(lambda: not members(route.group), what="the end of all its processes")


def contender(program: str) -> Contender:
    return Contender(
        "x", "X", command=lambda listen, server, folder: [sys.executable, "-c", program, str(listen.port)]
    )


def test_one_that_does_not_start_is_told_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"^X did not start: no such option$"):
        with started(contender("print('a', flush=True); raise SystemExit('no such option')"), HERE, tmp_path):
            pass
    with pytest.raises(StartFailed, match=r"^X did not start: it said nothing$"):
        with started(contender(""), HERE, tmp_path):
            pass


def test_one_that_ends_is_noticed_and_its_children_are_ended(tmp_path: Path) -> None:
    program = (
        "import os, socket, sys, time\n"
        "sock = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "os.fork() or time.sleep(600)\n"
        "sock.accept()\n"
        "sock.accept()\n"
        "os._exit(3)\n"
    )
    with started(contender(program), HERE, tmp_path) as route:
        socket.create_connection((route.address.host, route.address.port)).close()
        assert route.process is not None
        assert route.process.wait(10) == 3
        with pytest.raises(StartFailed, match=r"^X ended with status 3 while it was measured$"):
            route.require_alive()
    wait_until(lambda: not members(route.group), what="the end of its child")
    with pytest.raises(ProcessLookupError):
        os.killpg(route.group, 0)


def test_a_ctrl_c_while_a_process_starts_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when the process runs, and before anybody knows it."""
    begun: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            begun.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt), contenders._running(["sleep", "60"], subprocess.DEVNULL):
        pytest.fail("it goes on")
    assert begun[0].returncode == -signal.SIGKILL

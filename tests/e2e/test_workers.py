"""`lbkit run` with several workers: real processes, killed, reloaded, drained, orphaned."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_run import EchoServer, config, echo_servers
from tests.support.processes import Lbkit, children_of, fetch_json, run_lbkit, wait_until

TWO = "[global]\nworkers = 2\n"


@contextmanager
def balancer(folder: Path, *servers: str, extra: str = TWO, more: str = "") -> Iterator[Lbkit]:
    file = folder / "lb.toml"
    file.write_text(config(*servers, extra=extra) + more)
    with Lbkit("run", str(file), log=folder / "log") as lbkit:
        lbkit.listens("main")
        yield lbkit


def workers_of(admin: str) -> dict[str, Any]:
    shown: dict[str, Any] = fetch_json(admin)["workers"]
    return shown


def open_sessions(admin: str) -> list[int]:
    return [worker["open_sessions"] for worker in workers_of(admin).values()]


def name_of(sock: socket.socket) -> str:
    """What the server calls itself; ConnectionError where the session ends before."""
    line = b""
    while not line.endswith(b"\n"):
        data = sock.recv(1)
        if not data:
            raise ConnectionError("closed")
        line += data
    return line.decode().strip()


def connect(address: tuple[str, int]) -> socket.socket:
    sock = socket.create_connection(address, timeout=10)
    try:
        name_of(sock)
    except OSError:
        sock.close()
        raise
    return sock


def echoes(sock: socket.socket) -> bool:
    """Whether its session still lives."""
    try:
        sock.sendall(b"x")
        return sock.recv(1) == b"x"
    except OSError:
        return False


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def metric(admin: str, name: str) -> float:
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).rpartition(" ")[2])


def test_two_workers_share_the_connections_and_the_numbers_are_sums(tmp_path: Path) -> None:
    with echo_servers("one", "two") as servers, balancer(tmp_path, *servers) as lbkit, ExitStack() as stack:
        address, admin = lbkit.listens("main"), lbkit.address_of("admin")
        assert len(children_of(lbkit.process.pid)) == 2
        assert {worker["pid"] for worker in workers_of(admin).values()} == set(children_of(lbkit.process.pid))
        for _ in range(400):
            stack.enter_context(connect(address))
        wait_until(lambda: sum(open_sessions(admin)) == 400)
        assert min(open_sessions(admin)) >= 100, "none may get less than a quarter"
        status = fetch_json(admin)
        assert status["listeners"]["main"]["sessions"] == 400
        assert sum(server["open_sessions"] for server in status["pools"]["p"]["servers"].values()) == 400
        assert metric(admin, 'lbkit_listener_open_sessions{listener="main"}') == 400
        parts = [metric(admin, f'lbkit_worker_open_sessions{{worker="{number}"}}') for number in (1, 2)]
        assert sum(parts) == 400
        received = 'lbkit_server_bytes_total{direction="out",pool="p",server="%s"}'
        assert sum(metric(admin, received % name) for name in ("s0", "s1")) == 400 * 4


def test_a_killed_worker_is_replaced_and_only_its_sessions_are_cut(tmp_path: Path) -> None:
    health = '[pools.p.health]\ncheck = "tcp"\ninterval = "60s"\n'
    with echo_servers("one") as (one,), socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        down = f"127.0.0.1:{closed.getsockname()[1]}"
        with balancer(tmp_path, one, down, more=health) as lbkit, ExitStack() as stack:
            address, admin = lbkit.listens("main"), lbkit.address_of("admin")
            socks = [stack.enter_context(connect(address)) for _ in range(60)]
            wait_until(lambda: sum(open_sessions(admin)) == 60)
            before = workers_of(admin)
            stop = threading.Event()
            failures: list[str] = []
            loading = threading.Thread(target=_load, args=(address, stop, failures))
            loading.start()
            os.kill(before["1"]["pid"], signal.SIGKILL)
            lbkit.wait_for(r"worker 1 ended: pid [0-9]+, killed by SIGKILL; it is replaced")
            wait_until(lambda: workers_of(admin)["1"]["pid"] not in (0, before["1"]["pid"]))
            wait_until(lambda: "sessions" in fetch_json(admin)["listeners"]["main"])
            alive = [sock for sock in socks if echoes(sock)]
            assert len(alive) == before["2"]["open_sessions"]
            more = [stack.enter_context(connect(address)) for _ in range(60)]
            stop.set()
            loading.join(20)
            # What was being carried at that moment is cut; who waits in its backlog is not.
            assert len(failures) <= 1, failures
            wait_until(lambda: sum(open_sessions(admin)) == len(alive) + len(more))
            after = workers_of(admin)
            assert after["1"]["open_sessions"] > 0, "the new one gets its part"
            assert (after["1"]["replaced"], after["2"]["replaced"]) == (1, 0)
            status = fetch_json(admin)
            assert status["listeners"]["main"]["sessions"] >= 120, "totals of the dead one stay"
            servers = status["pools"]["p"]["servers"]
            assert servers["s1"]["state"] == "down"
            assert servers["s1"]["picks"] == 0, "the new worker knew at once that it is down"


def _load(address: tuple[str, int], stop: threading.Event, failures: list[str]) -> None:
    while not stop.is_set():
        try:
            with connect(address) as sock:
                if not echoes(sock):
                    failures.append("cut")
        except (OSError, AssertionError) as error:
            failures.append(repr(error))
        time.sleep(0.005)


def change(admin: str, server: str, **what: Any) -> None:
    request = urllib.request.Request(
        f"http://{admin}/pools/p/servers/{server}",
        json.dumps(what).encode(),
        {"Content-Type": "application/json"},
        method="PATCH",
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        assert response.status == 200


def names(address: tuple[str, int], count: int = 16) -> set[str]:
    found: set[str] = set()
    for _ in range(count):
        with socket.create_connection(address, timeout=10) as sock:
            found.add(name_of(sock))
    return found


def test_changes_at_run_time_reach_all_workers_also_later_ones(tmp_path: Path) -> None:
    with echo_servers("one", "two") as servers, balancer(tmp_path, *servers) as lbkit:
        address, admin = lbkit.listens("main"), lbkit.address_of("admin")
        assert names(address) == {"one", "two"}
        change(admin, "s0", state="drain")
        wait_until(lambda: names(address) == {"two"})
        before = workers_of(admin)
        for number in ("1", "2"):
            os.kill(before[number]["pid"], signal.SIGKILL)
        lbkit.wait_for("worker 1 ended")
        lbkit.wait_for("worker 2 ended")
        assert names(address) == {"two"}, "also the new ones"
        change(admin, "s0", state="ready")
        wait_until(lambda: names(address) == {"one", "two"})


def test_a_reload_reaches_all_workers_and_a_wrong_one_none(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    with echo_servers("one", "two") as (one, two), balancer(tmp_path, one) as lbkit:
        address, admin = lbkit.listens("main"), lbkit.address_of("admin")
        with connect(address) as old:
            file.write_text(config(two, extra=TWO).replace('pool = "p"', 'pool = "q"'))
            lbkit.process.send_signal(signal.SIGHUP)
            lbkit.wait_for("reload refused, nothing changed: .*there is no pool")
            file.write_text(config(two, extra="[global]\nworkers = 3"))
            lbkit.process.send_signal(signal.SIGHUP)
            lbkit.wait_for("reload refused, nothing changed: global.workers: was 2 at the start")
            assert names(address) == {"one"}
            with socket.create_server(("127.0.0.1", 0)) as probe:
                second = probe.getsockname()[:2]
            added = f'[listeners.second]\nlisten = "127.0.0.1:{second[1]}"\npool = "p"\n'
            file.write_text(config(one, two, extra=TWO) + added)
            lbkit.process.send_signal(signal.SIGHUP)
            lbkit.wait_for("reloaded: 2 listeners, 1 pools")
            assert names(address) == names(second) == {"one", "two"}
            assert echoes(old)
            file.write_text(config(two, extra=TWO))
            lbkit.process.send_signal(signal.SIGHUP)
            lbkit.wait_for("reloaded: 1 listeners, 1 pools")
            assert names(address) == {"two"}
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(second)
            assert echoes(old)
        status = fetch_json(admin)
        assert (status["reloads"], status["failed_reloads"]) == (2, 2)
        assert set(status["listeners"]) == {"main", "admin"}
        assert [worker["replaced"] for worker in status["workers"].values()] == [0, 0]


def test_sigterm_drains_all_workers(tmp_path: Path) -> None:
    with echo_servers("one") as (one,), balancer(tmp_path, one, extra=f'{TWO}drain_timeout = "20s"') as lbkit:
        address = lbkit.listens("main")
        workers = list(children_of(lbkit.process.pid))
        with connect(address) as sock:
            for pid in (*workers, lbkit.process.pid):  # as a service manager does
                os.kill(pid, signal.SIGTERM)
            lbkit.wait_for("stopping: 1 sessions may end within 20 s")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            assert echoes(sock)
            assert lbkit.process.poll() is None
        assert lbkit.process.wait(5) == 0
        assert not any(is_running(pid) for pid in workers)
        assert "ended" not in lbkit.output


def test_the_drain_timeout_and_a_second_signal_cut_sessions(tmp_path: Path) -> None:
    with echo_servers("one") as (one,):
        with balancer(tmp_path, one, extra=f'{TWO}drain_timeout = "200ms"') as lbkit:
            with connect(lbkit.listens("main")) as sock:
                assert lbkit.stop(timeout=5) == 0
                assert sock.recv(1) == b""
        with balancer(tmp_path, one) as lbkit:
            with connect(lbkit.listens("main")) as sock:
                lbkit.process.send_signal(signal.SIGINT)
                lbkit.wait_for("stopping: 1 sessions")
                assert lbkit.stop(signal.SIGINT, timeout=5) == 0
                assert sock.recv(1) == b""


def test_workers_whose_parent_died_let_sessions_end_and_end(tmp_path: Path) -> None:
    with echo_servers("one") as (one,), balancer(tmp_path, one) as lbkit:
        address = lbkit.listens("main")
        workers = list(children_of(lbkit.process.pid))
        with connect(address) as sock:
            lbkit.process.kill()
            lbkit.process.wait()
            wait_until(lambda: refuses(address), 5)
            assert echoes(sock)
        wait_until(lambda: not any(is_running(pid) for pid in workers), 5)
        assert "worker 1: lbkit.worker: the parent process is gone" in lbkit.output


def refuses(address: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(address):
        return False
    return True


class Counted(EchoServer):
    """Counts its connections by whether they sent something: checks do not."""

    def __init__(self, name: str) -> None:
        self.checks = 0
        super().__init__(name)

    def _talk(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            sock.sendall(self._name + b"\n")
            if not sock.recv(1):
                self.checks += 1


def test_servers_see_one_prober_and_all_workers_know_what_it_found(tmp_path: Path) -> None:
    health = '[pools.p.health]\ncheck = "tcp"\ninterval = "100ms"\njitter = 0.0\nfall = 1\n'
    counted, leaving = Counted("counted"), EchoServer("leaving")
    with balancer(tmp_path, counted.address, leaving.address, more=health) as lbkit:
        address, admin = lbkit.listens("main"), lbkit.address_of("admin")
        start, began = counted.checks, time.monotonic()
        time.sleep(1.5)
        expected = (time.monotonic() - began) / 0.1
        assert counted.checks - start <= expected + 2, "two probers would make it twice as many"
        leaving.close()
        wait_until(lambda: fetch_json(admin)["pools"]["p"]["servers"]["s1"]["state"] == "down")
        assert names(address, 24) == {"counted"}, "no worker tries it any more"
        assert fetch_json(admin)["pools"]["p"]["servers"]["s1"]["connect_errors"] == 0
        assert lbkit.output.count("server s1 is down") == 1
    counted.close()


def test_errors_that_a_worker_sees_hurry_the_check(tmp_path: Path) -> None:
    health = '[pools.p.health]\ncheck = "tcp"\ninterval = "60s"\nfast_interval = "100ms"\nfall = 2\n'
    passive = 'observe = "layer4"\nerror_limit = 1\non_error = "fast_check"\n'
    leaving = EchoServer("leaving")
    with echo_servers("one") as (one,):
        with balancer(tmp_path, one, leaving.address, more=health + passive) as lbkit:
            address, admin = lbkit.listens("main"), lbkit.address_of("admin")
            leaving.close()
            assert names(address, 8) == {"one"}
            wait_until(lambda: fetch_json(admin)["pools"]["p"]["servers"]["s1"]["state"] == "down", 5)


def test_http_mode_over_a_unix_socket(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("hello")
    path = tmp_path / "s"
    text = f"""{TWO}
[admin]
listen = "127.0.0.1:0"
[listeners.web]
listen = "unix:{path}"
mode = "http"
access_log = "access.log"
[[listeners.web.routes]]
path = "/"
static = "."
"""
    file = tmp_path / "lb.toml"
    file.write_text(text)
    with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
        lbkit.wait_for(r"web listens on unix:.* \(http")
        admin = lbkit.address_of("admin")
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                sock.sendall(b"GET /f.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b""
                while data := sock.recv(65536):
                    answer += data
                assert answer.endswith(b"hello")
        wait_until(lambda: fetch_json(admin)["listeners"]["web"]["responses"]["2xx"] == 20)
        os.kill(next(iter(children_of(lbkit.process.pid))), signal.SIGKILL)
        lbkit.wait_for("it is replaced")
        assert path.exists()
        assert lbkit.stop() == 0
    assert not path.exists()
    assert len((tmp_path / "access.log").read_text().splitlines()) >= 19


def test_the_flag_and_its_mistakes(tmp_path: Path) -> None:
    flags = ("run", "--listen", "127.0.0.1:0", "--server", "127.0.0.1:1", "--workers")
    with Lbkit(*flags, "2", log=tmp_path / "log") as lbkit:
        lbkit.wait_for(r"main listens on .* 2 workers\)")
        assert lbkit.stop() == 0
    result = run_lbkit(*flags, "many")
    assert (result.returncode, result.stderr) == (
        2,
        'lbkit: --workers: expected a whole number or "auto", got the string "many"\n',
    )
    assert run_lbkit(*flags, "0").returncode == 2


def test_where_no_worker_comes_up_it_ends_with_the_reason(tmp_path: Path) -> None:
    parts = tmp_path / "parts.py"
    parts.write_text('import sys\nif "worker" in sys.argv:\n    sys.exit(7)\n')
    flags = ("run", "--listen", "127.0.0.1:0", "--server", "127.0.0.1:1", "--workers", "2")
    result = run_lbkit("--load", str(parts), *flags)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "lbkit: no worker could be started: exit status 7"

"""A firewall as clients meet it: real processes, real addresses of this machine."""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_run import EchoServer
from tests.support.processes import Lbkit, children_of, fetch_json, run_lbkit, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this machine only on Linux")


def configured(folder: Path, server: str, firewall: str, more: str = "", workers: int = 1) -> Path:
    file = folder / "lbkit.toml"
    file.write_text(
        f"""
        [global]
        workers = {workers}
        drain_timeout = "1s"
        [admin]
        listen = "127.0.0.1:0"
        [listeners.web]
        listen = "127.0.0.1:0"
        pool = "p"
        {more}
        [listeners.web.firewall]
        {firewall}
        [[pools.p.servers]]
        name = "a"
        address = "{server}"
        """
    )
    return file


def connect(address: tuple[str, int], source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(address, timeout=10, source_address=(source, 0))


def is_served(address: tuple[str, int], source: str = "127.0.0.1") -> bool:
    """Whether a session comes to the server and back."""
    try:
        with connect(address, source) as sock:
            return sock.recv(1) != b""
    except OSError:
        return False


def counters(lbkit: Lbkit) -> dict[str, Any]:
    shown: dict[str, Any] = fetch_json(lbkit.address_of("admin"))["listeners"]["web"]
    return shown


class Flood:
    """Connects from one address as often as it can, at most so many at a time, and counts how that ends."""

    def __init__(self, address: tuple[str, int], source: str) -> None:
        self.address, self.source = address, source
        self.tried = self.cut = 0
        self.open: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()

    def run(self, number: int, at_a_time: int, between: Any) -> None:
        """*between* is called now and then."""
        while self.tried < number:
            while len(self.open) < at_a_time and self.tried < number:
                self._start()
            for key, _ in self._selector.select(0.01):
                self._look(key.fileobj)  # type: ignore[arg-type]
            if len(self.open) >= at_a_time:
                return
            between(self.tried)

    def _start(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((self.source, 0))
        sock.connect_ex(self.address)
        self.tried += 1
        self.open.add(sock)
        self._selector.register(sock, selectors.EVENT_READ)

    def _look(self, sock: socket.socket) -> None:
        try:
            over = not sock.recv(100)
        except BlockingIOError:
            return
        except OSError:
            over = True
        if over:
            self._selector.unregister(sock)
            sock.close()
            self.open.discard(sock)
            self.cut += 1

    def settle(self, seconds: float) -> None:
        """See how those end that were begun last."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for key, _ in self._selector.select(0.05):
                self._look(key.fileobj)  # type: ignore[arg-type]

    def close(self) -> None:
        for sock in self.open:
            sock.close()
        self._selector.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_ten_thousand_connections_of_one_client_stay_within_its_limit(workers: int, tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 1024
    limit = 50
    with closing(EchoServer("one")) as server:
        file = configured(tmp_path, server.address, f"max_connections_per_client = {limit}", workers=workers)
        with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
            address = lbkit.listens("web")
            flood = Flood(address, "127.0.0.1")
            waited: list[float] = []

            def another(tried: int) -> None:
                if len(waited) < tried // 1000:
                    began = time.monotonic()
                    assert is_served(address, "127.0.0.2"), "others are served meanwhile"
                    waited.append(time.monotonic() - began)

            began = time.monotonic()
            try:
                flood.run(10_000, 400, another)
                flood.settle(1.0)
                assert time.monotonic() - began < 60
                assert len(waited) >= 9
                assert max(waited) < 5
                assert flood.cut + len(flood.open) == 10_000
                # By chance one of two workers may get fewer than its share of the connections: never more.
                assert len(flood.open) <= limit
                assert len(flood.open) == limit or workers > 1
                wait_until(lambda: counters(lbkit)["open_sessions"] == len(flood.open))
                shown = counters(lbkit)
                assert shown["denied_connections"] == 10_000 - len(flood.open)
            finally:
                flood.close()
            wait_until(lambda: counters(lbkit)["open_sessions"] == 0)
            assert is_served(address), "who has left has room again"


def test_workers_are_given_the_lists_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "bad.txt").write_text("127.0.0.2\n")
    with closing(EchoServer("one")) as server:
        file = configured(folder, server.address, 'deny_file = "bad.txt"', workers=2)
        with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
            address = lbkit.listens("web")
            (folder / "bad.txt").unlink()
            for pid, command in children_of(lbkit.process.pid).items():
                if "worker" in command:
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: is_served(address))
            for _ in range(10):
                assert not is_served(address, "127.0.0.2"), "one that is replaced has them, too"


def test_lists_from_files_are_read_again_at_a_reload(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("127.0.0.2  # for a while\n")
    with closing(EchoServer("one")) as server:
        file = configured(tmp_path, server.address, 'deny_file = "bad.txt"')
        with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
            address = lbkit.listens("web")
            assert not is_served(address, "127.0.0.2")
            with connect(address, "127.0.0.3") as kept:
                assert kept.recv(1)
                (tmp_path / "bad.txt").write_text("127.0.0.3\n")
                lbkit.process.send_signal(signal.SIGHUP)
                lbkit.wait_for("reloaded: ")
                assert is_served(address, "127.0.0.2")
                assert not is_served(address, "127.0.0.3")
                kept.sendall(b"x")
                assert kept.recv(1), "a session in progress goes on"
            (tmp_path / "bad.txt").write_text("127.0.0.3\n127.0.0.0/7\n")
            lbkit.process.send_signal(signal.SIGHUP)
            lbkit.wait_for(r'bad.txt, line 2: "127.0.0.0/7" has bits behind its prefix')
            assert not is_served(address, "127.0.0.3"), "a list that is wrong changes nothing"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_ban_outlives_a_reload_and_ends(workers: int, tmp_path: Path) -> None:
    firewall = 'connection_rate = "2/m"\nban_after = 2\nban_time = "6s"'
    with closing(EchoServer("one")) as server:
        file = configured(tmp_path, server.address, firewall, workers=workers)
        with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
            address = lbkit.listens("web")
            wait_until(lambda: not is_served(address, "127.0.0.2") and counters(lbkit)["bans"] >= workers)
            file.write_text(file.read_text().replace("2/m", "1000/s"))
            lbkit.process.send_signal(signal.SIGHUP)
            lbkit.wait_for("reloaded: ")
            assert not is_served(address, "127.0.0.2")
            assert is_served(address, "127.0.0.3")
            wait_until(lambda: is_served(address, "127.0.0.2"))
            assert counters(lbkit)["denied_ban"] > 0


def test_requests_have_a_rate_and_rules(tmp_path: Path) -> None:
    rules = """
    request_rate = "1/h burst 3"
    [[listeners.web.firewall.rules]]
    path = "/private/"
    status = 404
    [[listeners.web.routes]]
    path = "/"
    static = "."
    """
    (tmp_path / "x").write_text("x")
    file = configured(tmp_path, "127.0.0.1:9", rules, f'mode = "http"\naccess_log = "{tmp_path}/access"')
    with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
        address = lbkit.address_of("web")
        found = []
        for path in ("/x", "/private/x", "/x", "/x"):
            try:
                with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as response:
                    found.append(response.status)
            except urllib.error.HTTPError as error:
                found.append(error.code)
                again = error.headers["Retry-After"]
                error.close()
        assert found == [200, 404, 200, 429]
        assert 3500 < int(again) <= 3600
        shown = counters(lbkit)
        assert (shown["denied_request_rate"], shown["denied_rule"]) == (1, 1)
        metrics = f"http://{lbkit.address_of('admin')}/metrics"
        with urllib.request.urlopen(metrics, timeout=5) as response:
            line = 'lbkit_listener_events_total{event="denied_request_rate",listener="web"} 1.0'
            assert line in response.read().decode()
        wait_until(lambda: (tmp_path / "access").read_text().count("\n") == 4)
        ends = [json.loads(line)["end"] for line in (tmp_path / "access").read_text().splitlines()]
        assert ends == ["", "denied: a rule of the firewall", "", "denied: request rate"]


def test_mistakes_are_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("\nnonsense\n")
    file = configured(tmp_path, "127.0.0.1:9", 'deny_file = "bad.txt"\nrequest_rate = "5/x"')
    shown = run_lbkit("check", str(file))
    assert shown.returncode == 2
    assert f'{tmp_path}/bad.txt, line 2: "nonsense" is not a network' in shown.stderr
    assert 'request_rate: "5/x" is not a rate' in shown.stderr
    assert shown.stderr.count("lbkit: ") == 2

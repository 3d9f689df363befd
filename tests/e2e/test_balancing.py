"""Pools as a user configures them, in a real balancer with real servers behind it."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from tests.support.processes import Lbkit, fetch_json, wait_until


class Named:
    """A web server that answers with its name, as slowly and with the status that it is told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.delay = 0.0
        self.status = 200
        self.agent = "ready"
        self.at_once = self.most = self.requests = 0
        self._lock = Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/health":
                    self.answer(200)
                    return
                with outer._lock:
                    outer.requests += 1
                    outer.at_once += 1
                    outer.most = max(outer.most, outer.at_once)
                time.sleep(outer.delay)
                with outer._lock:
                    outer.at_once -= 1
                self.answer(outer.status)

            def answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(outer.name)))
                self.end_headers()
                self.wfile.write(outer.name.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self._http = Server(("127.0.0.1", 0), Handler)
        self._agent = socket.create_server(("127.0.0.1", 0))
        for work in (self._http.serve_forever, self._talk):
            Thread(target=work, daemon=True).start()

    def _talk(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._agent.accept()
                with client:
                    client.sendall(self.agent.encode() + b"\n")

    @property
    def toml(self) -> str:
        return (
            f'[[pools.app.servers]]\nname = "{self.name}"\naddress = "127.0.0.1:{self._http.server_port}"\n'
        )

    @property
    def agent_port(self) -> int:
        return int(self._agent.getsockname()[1])

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._agent.close()


class Balanced:
    """A running balancer; `rewrite` and `reload` change its file."""

    def __init__(self, process: Lbkit, file: Path) -> None:
        self.process = process
        self.file = file
        self.web = process.address_of("web")
        self.admin = process.address_of("admin")

    def get(self, path: str = "/", **headers: str) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection(self.web, timeout=10)
        try:
            connection.request(
                "GET", path, headers={key.replace("_", "-"): value for key, value in headers.items()}
            )
            answer = connection.getresponse()
            fields = {key.lower(): value for key, value in answer.getheaders()}
            return answer.status, answer.read().decode(), fields
        finally:
            connection.close()

    def names(self, count: int, **headers: str) -> Counter[str]:
        return Counter(self.get(**headers)[1] for _ in range(count))

    def server(self, name: str) -> dict[str, Any]:
        return dict(fetch_json(self.admin)["pools"]["app"]["servers"][name])

    def pool(self) -> dict[str, Any]:
        return dict(fetch_json(self.admin)["pools"]["app"])

    def change(self, server: str, **changes: object) -> None:
        request = urllib.request.Request(
            f"http://{self.admin}/pools/app/servers/{server}",
            json.dumps(changes).encode(),
            {"Content-Type": "application/json"},
            method="PATCH",
        )
        urllib.request.urlopen(request, timeout=5).close()

    def reload(self) -> None:
        before = fetch_json(self.admin)["reloads"]
        self.process.process.send_signal(signal.SIGHUP)
        wait_until(lambda: fetch_json(self.admin)["reloads"] == before + 1)


@contextlib.contextmanager
def balanced(
    folder: Path, pool: str, *servers: Named, listener: str = "", extra: str = ""
) -> Iterator[Balanced]:
    file = folder / "lb.toml"
    file.write_text(
        '[global]\nseed = 7\n[admin]\nlisten = "127.0.0.1:0"\n'
        f'[listeners.web]\nlisten = "127.0.0.1:0"\nmode = "http"\npool = "app"\n{listener}\n'
        f"[pools.app]\n{pool}\n{extra}\n" + "".join(server.toml for server in servers)
    )
    with Lbkit("run", str(file), log=folder / "lb.log") as process:
        try:
            yield Balanced(process, file)
        finally:
            assert "Traceback" not in process.output


@pytest.fixture
def servers() -> Iterator[list[Named]]:
    made = [Named(name) for name in "abc"]
    yield made
    for server in made:
        server.close()


HEALTH = '[pools.app.health]\ncheck = "http"\npath = "/health"\ninterval = "100ms"\n'


@pytest.mark.parametrize("algorithm", ["consistent_hash", "maglev", "rendezvous"])
def test_a_key_keeps_its_server(tmp_path: Path, servers: list[Named], algorithm: str) -> None:
    with balanced(tmp_path, f'algorithm = "{algorithm}"\nkey = "header:X-User"', *servers) as lb:
        homes = {user: lb.get(X_User=user)[1] for user in map(str, range(40))}
        assert set(homes.values()) == {"a", "b", "c"}
        assert all(lb.get(X_User=user)[1] == home for user, home in homes.items())
        lb.change("b", state="drain")
        moved = {user for user, home in homes.items() if lb.get(X_User=user)[1] != home}
        at_home = {user for user, home in homes.items() if home == "b"}
        assert at_home <= moved
        assert len(moved - at_home) <= (4 if algorithm == "maglev" else 0)


def test_a_limit_and_its_queue_let_everybody_through(tmp_path: Path, servers: list[Named]) -> None:
    a, b, _ = servers
    a.delay = b.delay = 0.02
    with balanced(tmp_path, 'algorithm = "least_connections"', a, b) as lb:
        lb.file.write_text(lb.file.read_text().replace('name = "', 'max_connections = 3\nname = "'))
        lb.reload()
        with ThreadPoolExecutor(40) as clients:
            answers = list(clients.map(lambda _: lb.get()[0], range(200)))
        assert answers == [200] * 200
        assert max(a.most, b.most) <= 3
        facts = lb.pool()
        assert facts["queued"] > 50
        assert (facts["waiting"], facts["queue_timeouts"]) == (0, 0)
        assert lb.server("a")["open_sessions"] == lb.server("b")["open_sessions"] == 0


def test_a_full_queue_and_a_long_wait_are_a_503(tmp_path: Path, servers: list[Named]) -> None:
    a = servers[0]
    a.delay = 0.5
    listener = '[listeners.web.timeouts]\nqueue = "100ms"'
    with balanced(tmp_path, "max_queue = 2", a, listener=listener) as lb:
        lb.change("a", max_connections=1)
        with ThreadPoolExecutor(8) as clients:
            answers = Counter(clients.map(lambda _: lb.get()[0], range(8)))
        assert answers[200] >= 1
        assert answers[200] + answers[503] == 8
        facts = lb.pool()
        assert facts["queue_refused"] >= 1
        assert facts["queue_timeouts"] >= 1


def test_what_was_changed_at_run_time_holds_through_a_reload(tmp_path: Path, servers: list[Named]) -> None:
    with balanced(tmp_path, "", *servers, extra=HEALTH) as lb:
        lb.change("a", weight=4)
        lb.change("b", state="maint")
        lb.file.write_text(lb.file.read_text().replace("[pools.app]", "[pools.app]\nretries = 1"))
        lb.reload()
        assert lb.names(50) == {"a": 40, "c": 10}
        assert lb.server("b")["state"] == "maint"


def test_a_cookie_keeps_a_client_through_a_reload_and_a_drain(tmp_path: Path, servers: list[Named]) -> None:
    with balanced(tmp_path, 'sticky_cookie = "lb"', *servers) as lb:
        _, home, fields = lb.get()
        cookie = fields["set-cookie"].partition(";")[0]
        assert lb.names(9, Cookie=cookie) == {home: 9}
        lb.reload()
        lb.change(home, state="drain")
        assert lb.names(9, Cookie=cookie) == {home: 9}
        assert home not in lb.names(9)


def test_agents_say_what_they_want(tmp_path: Path, servers: list[Named]) -> None:
    a, b, _ = servers
    extra = f'[pools.app.agent]\nport = {a.agent_port}\ninterval = "50ms"\n'
    with balanced(tmp_path, "", a, b, extra=extra) as lb:
        a.agent = "drain # nightly backup"  # both listen to the one at this port
        wait_until(lambda: lb.server("a")["state"] == lb.server("b")["state"] == "drain")
        assert lb.server("a")["reason"] == "agent: nightly backup"
        assert lb.get()[0] == 503
        a.agent = "ready 50%"
        wait_until(lambda: lb.server("a")["state"] == "up")
        assert lb.server("a")["effective_weight"] == 0.5
        assert lb.get()[0] == 200


def test_live_errors_take_a_server_out_although_its_check_passes(
    tmp_path: Path, servers: list[Named]
) -> None:
    a, b, c = servers
    a.status = 500
    extra = '[pools.app.outlier]\nconsecutive = 3\nbase_ejection = "1s"\n' + HEALTH
    with balanced(tmp_path, "", a, b, c, extra=extra) as lb:
        wait_until(lambda: lb.names(9).get("a", 0) == 0)
        assert lb.server("a")["state"] == "ejected"
        a.status = 200
        wait_until(lambda: lb.server("a")["state"] == "up")
        assert lb.names(9) == {"a": 3, "b": 3, "c": 3}


def test_a_slow_server_gets_less_from_who_looks_at_latency(tmp_path: Path, servers: list[Named]) -> None:
    a, b, c = servers
    a.delay, b.delay, c.delay = 0.2, 0.01, 0.01
    for algorithm in ("peak_ewma", "prequal", "least_connections"):
        with (
            balanced(tmp_path, f'algorithm = "{algorithm}"', a, b, c) as lb,
            ThreadPoolExecutor(6) as clients,
        ):
            picks = Counter(clients.map(lambda _, lb=lb: lb.get()[1], range(300)))
        assert picks["a"] < 60, algorithm
        assert min(picks["b"], picks["c"]) > 60, algorithm


def test_servers_that_are_alike_get_alike(tmp_path: Path, servers: list[Named]) -> None:
    for server in servers:
        server.delay = 0.01
    for algorithm in ("peak_ewma", "prequal", "two_choices", "least_connections"):
        with (
            balanced(tmp_path, f'algorithm = "{algorithm}"', *servers) as lb,
            ThreadPoolExecutor(6) as clients,
        ):
            picks = Counter(clients.map(lambda _, lb=lb: lb.get()[1], range(300)))
        assert min(picks[name] for name in "abc") >= 50, f"{algorithm}: half of an even share"

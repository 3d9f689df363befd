"""`lbkit run` as a process: signals, reload, drain, a large download to a slow reader."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Lbkit, fetch_json, wait_until


class EchoServer:
    """A threaded server outside of any loop: names itself, then echoes."""

    def __init__(self, name: str, port: int = 0) -> None:
        self._name = name.encode()
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = self._listening.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):  # a health check leaves without reading
            sock.sendall(self._name + b"\n")
            while data := sock.recv(65536):
                sock.sendall(data)

    def close(self) -> None:
        """Stop accepting; a thread that waits in accept is woken."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def echo_servers(*names: str) -> Iterator[list[str]]:
    servers = [EchoServer(name) for name in names]
    try:
        yield [server.address for server in servers]
    finally:
        for server in servers:
            server.close()


def config(*servers: str, extra: str = "", listen: str = "127.0.0.1:0") -> str:
    listed = "".join(
        f'[[pools.p.servers]]\nname = "s{i}"\naddress = "{address}"\n' for i, address in enumerate(servers)
    )
    return f"""{extra}
[admin]
listen = "127.0.0.1:0"
[listeners.main]
listen = {json.dumps(listen)}
pool = "p"
[pools.p]
{listed}"""


def name_of(sock: socket.socket) -> str:
    line = b""
    while not line.endswith(b"\n"):
        line += sock.recv(1)
    return line.decode().strip()


def test_reload_changes_servers_without_cutting_a_session(tmp_path: Path) -> None:
    file = tmp_path / "lb.toml"
    with echo_servers("one", "two") as (one, two):
        file.write_text(config(one))
        with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
            address = lbkit.listens("main")
            admin = lbkit.address_of("admin")
            with socket.create_connection(address) as old:
                assert name_of(old) == "one"

                file.write_text(config(two).replace('pool = "p"', 'pool = "q"'))
                lbkit.process.send_signal(signal.SIGHUP)
                lbkit.wait_for(
                    r'reload refused, nothing changed: .*listeners\.main\.pool: there is no pool "q"'
                )
                with socket.create_connection(address) as still:
                    assert name_of(still) == "one"

                file.write_text(config(two))
                lbkit.process.send_signal(signal.SIGHUP)
                lbkit.wait_for("reloaded: 1 listeners, 1 pools")
                with socket.create_connection(address) as new:
                    assert name_of(new) == "two"
                old.sendall(b"still here")
                assert old.recv(100) == b"still here"
            status = fetch_json(admin)
            assert (status["reloads"], status["failed_reloads"]) == (1, 1)
            assert lbkit.stop() == 0


@contextmanager
def starting(folder: Path) -> Iterator[Lbkit]:
    """A balancer that is in its first checks and stays there for as long as its test takes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        health = '[pools.p.health]\ncheck = "http"\ntimeout = "60s"'
        file = folder / "lb.toml"
        file.write_text(config(f"127.0.0.1:{silent.getsockname()[1]}", extra=health))
        with Lbkit("run", str(file), log=folder / "log") as lbkit:
            silent.settimeout(30)
            with silent.accept()[0]:
                yield lbkit


def test_a_signal_during_the_first_checks_stops_at_once(tmp_path: Path) -> None:
    with starting(tmp_path) as lbkit:
        assert lbkit.stop(timeout=10) == 0


def test_a_hangup_during_the_first_checks_ends_nothing(tmp_path: Path) -> None:
    with starting(tmp_path) as lbkit:
        lbkit.process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            lbkit.process.wait(0.5)
        assert lbkit.stop(timeout=10) == 0


def test_sigterm_stops_accepting_lets_sessions_end_and_exits_0(tmp_path: Path) -> None:
    with echo_servers("one") as (one,):
        file = tmp_path / "lb.toml"
        file.write_text(config(one, extra='[global]\ndrain_timeout = "20s"'))
        with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
            address = lbkit.listens("main")
            with socket.create_connection(address) as sock:
                name_of(sock)
                lbkit.process.send_signal(signal.SIGTERM)
                lbkit.wait_for("stopping: 1 sessions may end within 20 s")
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(address)
                sock.sendall(b"bye")
                assert sock.recv(100) == b"bye"
                assert lbkit.process.poll() is None
            assert lbkit.process.wait(5) == 0


def test_the_drain_timeout_ends_sessions(tmp_path: Path) -> None:
    with echo_servers("one") as (one,):
        file = tmp_path / "lb.toml"
        file.write_text(config(one, extra='[global]\ndrain_timeout = "300ms"'))
        with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
            with socket.create_connection(lbkit.listens("main")) as sock:
                name_of(sock)
                assert lbkit.stop() == 0
                assert sock.recv(100) == b""


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with echo_servers("one") as (one,):
        with Lbkit("run", "--listen", "127.0.0.1:0", "--server", one, log=tmp_path / "log") as lbkit:
            with socket.create_connection(lbkit.listens("main")) as sock:
                name_of(sock)
                lbkit.process.send_signal(signal.SIGINT)
                lbkit.wait_for("stopping")
                assert lbkit.stop(signal.SIGINT, timeout=5) == 0


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


GIB = 1 << 30


def send_gib(listening: socket.socket) -> None:
    """Answer one connection with 1 GiB as fast as it goes."""
    sock, _ = listening.accept()
    block = bytes(1 << 20)
    with sock:
        try:
            for _ in range(GIB // len(block)):
                sock.sendall(block)
        except OSError:
            return


def test_a_gibibyte_to_a_slow_reader_does_not_fill_the_memory(tmp_path: Path) -> None:
    """A reader of 1 MB/s for some seconds, then the rest at full speed: every byte arrives."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=send_gib, args=(listening,), daemon=True).start()
        server = f"127.0.0.1:{listening.getsockname()[1]}"
        with Lbkit("run", "--listen", "127.0.0.1:0", "--server", server, log=tmp_path / "log") as lbkit:
            with socket.create_connection(lbkit.listens("main")) as sock:
                received = 0
                for _ in range(40):
                    received += len(sock.recv(100_000))
                    time.sleep(0.1)
                assert received < 5_000_000
                buffer = bytearray(1 << 20)
                while count := sock.recv_into(buffer):
                    received += count
                assert received == GIB
            assert resident_mb(lbkit.process.pid) < 100
            assert lbkit.stop() == 0


def test_a_server_that_goes_away_is_noticed_and_taken_back(tmp_path: Path) -> None:
    with echo_servers("one") as (one,):
        leaving = EchoServer("two")
        file = tmp_path / "lb.toml"
        health = '[pools.p.health]\ncheck = "tcp"\ninterval = "200ms"\nrise = 2\nfall = 3\n'
        file.write_text(config(one, leaving.address) + health)
        with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
            admin = lbkit.address_of("admin")

            def shown() -> Any:
                return fetch_json(admin)["pools"]["p"]["servers"]["s1"]

            wait_until(lambda: shown()["state"] == "up")
            leaving.close()
            gone = time.monotonic()
            wait_until(lambda: shown()["state"] == "down")
            assert time.monotonic() - gone < 3 * 0.2 + 0.6, (
                "fall × interval, and the time to look on a busy machine"
            )
            assert "connection refused" in shown()["reason"]
            for _ in range(4):
                with socket.create_connection(lbkit.listens("main")) as sock:
                    assert name_of(sock) == "one"
            back = EchoServer("two", leaving.port)
            wait_until(lambda: shown()["state"] == "up")
            assert "p: server s1 is down" in lbkit.output
            back.close()


@pytest.mark.parametrize("name", ["site", "my 'web' \"site\" \\ 📁 \x7f\n"])
def test_static(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "index.html").write_text("<h1>hello</h1>")
    with Lbkit("static", str(folder), "--listen", "127.0.0.1:0", log=tmp_path / "log") as lbkit:
        host, port = lbkit.listens("static")
        with socket.create_connection((host, port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := sock.recv(65536):
                answer += data
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b"<h1>hello</h1>")
        assert lbkit.stop(signal.SIGINT) == 0


APP = """
import asyncio
async def app(scope, receive, send):
    await receive()
    if "{hangs}" == "startup":
        print("it hangs", flush=True)
        await asyncio.sleep(600)
    await send({{"type": "lifespan.startup.complete"}})
    await receive()
    print("it hangs", flush=True)
    await asyncio.sleep(600)
"""


@pytest.mark.parametrize("hangs", ["startup", "shutdown"])
def test_an_app_that_hangs_can_be_stopped(tmp_path: Path, hangs: str) -> None:
    (tmp_path / "hanging.py").write_text(APP.format(hangs=hangs))
    arguments = ("app", "hanging:app", "--app-dir", str(tmp_path), "--listen", "127.0.0.1:0")
    with Lbkit(*arguments, log=tmp_path / "log") as lbkit:
        if hangs == "shutdown":
            lbkit.wait_for("serving hanging:app")
            lbkit.process.send_signal(signal.SIGTERM)
        lbkit.wait_for("it hangs")
        assert lbkit.stop(timeout=10) == 0

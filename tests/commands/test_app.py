"""``lbkit app`` as a user runs it: processes, flags, signals, exit codes."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.processes import Lbkit, children_of, run_lbkit, wait_until
from tests.support.programs import program


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no_such_module:app", "no_such_module"),
        ("json:no_such_attribute", "no_such_attribute"),
        ("json", "MODULE:ATTR|module:attr"),
    ],
)
def test_an_app_that_cannot_be_loaded_is_one_line(name: str, expected: str) -> None:
    result = run_lbkit("app", name, "--listen", "127.0.0.1:0")
    assert result.returncode == 1
    assert any(word in result.stderr for word in expected.split("|")), result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--trusted", "x"], "--trusted: "),
        (["--fd", "99"], "--fd: 99 is no socket: bad file descriptor"),
        (["--max-memory", "big"], "--max-memory"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_wrong_flags_of_the_app_server(flags: list[str], line: str) -> None:
    result = run_lbkit("app", "json:dumps", *flags)
    assert result.returncode == 2 and line in result.stderr, result.stderr


def test_an_inherited_socket_must_listen() -> None:
    with socket.socket() as sock:
        number = str(sock.fileno())
        result = run_lbkit("app", "json:dumps", "--fd", number, pass_fds=[sock.fileno()])
    assert result.returncode == 2 and "does not listen" in result.stderr


HELLO = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.FAIL" if FAIL else "lifespan.startup.complete", "message": "no database"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"hello"})
"""


def hello(folder: Path, *, fails: bool = False) -> list[str]:
    """An app in *folder*, and how it is served."""
    text = HELLO.replace("FAIL else", f"{fails} else").replace("startup.FAIL", "startup.failed")
    (folder / "hello.py").write_text(text)
    return ["app", "hello:app", "--app-dir", str(folder)]


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_an_app_that_does_not_start_exits_3(more: list[str], tmp_path: Path) -> None:
    result = run_lbkit(*hello(tmp_path, fails=True), "--listen", "127.0.0.1:0", *more)
    assert result.returncode == 3
    assert "lbkit: the application failed to start: no database" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_app_is_served_until_a_signal(more: list[str], number: signal.Signals, tmp_path: Path) -> None:
    with Lbkit(*hello(tmp_path), "--listen", "127.0.0.1:0", *more, log=tmp_path / "log") as lbkit:
        address = lbkit.wait_for(r"serving hello:app on ([0-9.:]+)")[1]
        with urllib.request.urlopen(f"http://{address}/", timeout=5) as response:
            assert response.read() == b"hello"
        children = list(children_of(lbkit.process.pid))
        assert lbkit.stop(number) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)
        assert "Traceback" not in lbkit.output


def test_an_app_that_changes_is_served_anew(tmp_path: Path) -> None:
    arguments = [*hello(tmp_path), "--listen", "127.0.0.1:0", "--reload"]
    with Lbkit(*arguments, log=tmp_path / "log") as lbkit:
        address = lbkit.wait_for(r"serving hello:app on ([0-9.:]+)")[1]
        lbkit.wait_for("watching ")
        file = tmp_path / "hello.py"

        def answer() -> bytes:
            with urllib.request.urlopen(f"http://{address}/", timeout=5) as response:
                return bytes(response.read())

        def changed() -> bool:
            file.write_text(file.read_text().replace('b"hello"', 'b"hello again"'))
            return answer() == b"hello again"

        assert answer() == b"hello"
        wait_until(changed)
        assert "changed: hello.py" in lbkit.output
        assert lbkit.stop() == 0


def test_an_app_on_an_inherited_socket_and_on_a_unix_socket(tmp_path: Path) -> None:
    arguments, path = hello(tmp_path), tmp_path / "s"
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port, number = sock.getsockname()[1], sock.fileno()
        command = [sys.executable, "-m", "lbkit", *arguments, "--fd", str(number)]
        process = subprocess.Popen(command, pass_fds=[number], stderr=subprocess.DEVNULL)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as response:
                assert response.read() == b"hello"
        finally:
            process.terminate()
            assert process.wait(20) == 0
    log = tmp_path / "log"
    with Lbkit(*arguments, "--listen", f"unix:{path}", "--workers", "2", log=log) as lbkit:
        lbkit.wait_for("serving hello:app")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert client.recv(1000).endswith(b"hello")
        assert lbkit.stop() == 0 and not path.exists()


LIFE = """
import asyncio, os, threading, time

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if WAY == "hangs":
            await asyncio.sleep(1000)
        while WAY == "clings":
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                pass
        if WAY == "fails":
            await send({"type": "lifespan.shutdown.failed", "message": "no flush"})
        if WAY == "leaves a thread":
            threading.Thread(target=time.sleep, args=(1000,)).start()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["http_version"].encode()})
"""


def living(folder: Path, way: str = "") -> list[str]:
    """An app that stops in its own *way*, and how it is served."""
    (folder / "life.py").write_text(f"WAY = {way!r}\n{LIFE}")
    return ["app", "life:app", "--app-dir", str(folder), "--listen", "127.0.0.1:0"]


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
@pytest.mark.parametrize(
    ("way", "line"),
    [
        ("hangs", "the application did not stop within 0.2 s: it is given up"),
        ("fails", "the application failed to stop: no flush"),
        ("clings", "lifespan goes on although it was cancelled"),
        ("leaves a thread", "the application's threads or tasks do not end: they are left behind"),
    ],
)
def test_an_app_that_does_not_stop_well_exits_3_and_in_time(
    way: str, line: str, more: list[str], tmp_path: Path
) -> None:
    arguments = [*living(tmp_path, way), "--shutdown-timeout", "0.2", *more]
    with Lbkit(*arguments, log=tmp_path / "log") as lbkit:
        lbkit.wait_for("serving life:app")
        assert lbkit.stop(timeout=20) == 3
        assert line in lbkit.output


def test_a_start_has_its_own_limit(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("import asyncio\nasync def app(*_): await asyncio.sleep(1000)\n")
    arguments = ["app", "late:app", "--app-dir", str(tmp_path), "--listen", "127.0.0.1:0"]
    result = run_lbkit(*arguments, "--startup-timeout", "0.1")
    assert result.returncode == 3
    assert result.stderr.splitlines()[-1] == "lbkit: the application did not start within 0.1 s"


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_http_2_and_1_over_tls(more: list[str], tmp_path: Path) -> None:
    curl, authority = program("curl"), Authority(tmp_path)
    pem = authority.issue("site.pem", ["127.0.0.1"])
    with Lbkit(*living(tmp_path), "--tls-certificate", str(pem), *more, log=tmp_path / "log") as lbkit:
        address = lbkit.wait_for(r"serving life:app on ([0-9.:]+)")[1]
        for flag, version in (("--http2", "2"), ("--http1.1", "1.1")):
            command = [curl, "-sS", flag, "--cacert", str(authority.ca), f"https://{address}/"]
            shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
            assert (shown.stdout, shown.stderr) == (version, "")
        with socket.create_connection((address.split(":")[0], int(address.split(":")[1]))) as idle:
            assert lbkit.stop() == 0, "who says nothing holds up no stop"
            idle.settimeout(5)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--tls-key", "x.pem"], "lbkit: --tls-key: needs --tls-certificate"),
        (["--tls-certificate", "none.pem"], "lbkit: --tls-certificate: "),
        (["--ws-max-size", "-1"], "--ws-max-size"),
        (["--ws-ping-timeout", "0"], "--ws-ping-timeout"),
        (["--ws-per-message-deflate", "maybe"], "--ws-per-message-deflate"),
    ],
)
def test_wrong_flags_for_tls_and_websockets(flags: list[str], line: str, tmp_path: Path) -> None:
    result = run_lbkit(*living(tmp_path), *flags)
    assert result.returncode == 2 and line in result.stderr, result.stderr


OPTIONS = """
import json

async def app(scope, receive, send):
    assert scope["type"] == "websocket"
    await send({"type": "websocket.accept"})
    await receive()
    await receive()
"""


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_websockets_have_the_limits_of_the_flags(more: list[str], tmp_path: Path) -> None:
    (tmp_path / "sockets.py").write_text(OPTIONS)
    flags = ["--ws-max-size", "100B", "--ws-ping-interval", "0.1", "--ws-per-message-deflate", "false"]
    arguments = ["app", "sockets:app", "--app-dir", str(tmp_path), "--listen", "127.0.0.1:0", *flags, *more]
    with Lbkit(*arguments, log=tmp_path / "log") as lbkit:
        host, port = lbkit.wait_for(r"serving sockets:app on ([0-9.]+):([0-9]+)").groups()
        with socket.create_connection((host, int(port)), timeout=10) as sock, sock.makefile("rb") as answer:
            sock.sendall(
                b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            )
            head = b"".join(iter(answer.readline, b"\r\n"))
            assert head.startswith(b"HTTP/1.1 101 ") and b"permessage-deflate" not in head
            assert answer.read(2) == b"\x89\x00", "a ping"
            sock.sendall(b"\x82\xe5\0\0\0\0" + bytes(101))
            frame = answer.read(4)
            while frame[:2] == b"\x89\x00":
                frame = frame[2:] + answer.read(2)
            assert frame[:1] == b"\x88" and int.from_bytes(frame[2:], "big") == 1009


GROWING = """
import os

kept = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    kept.append(bytearray(os.urandom(1)) * 4_000_000)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


def test_a_worker_that_grows_is_replaced_and_no_request_is_lost(tmp_path: Path) -> None:
    (tmp_path / "growing.py").write_text(GROWING)
    arguments = ["app", "growing:app", "--app-dir", str(tmp_path), "--listen", "127.0.0.1:0"]
    with Lbkit(*arguments, "--max-memory", "150MiB", log=tmp_path / "log") as lbkit:
        address = lbkit.wait_for(r"serving growing:app on ([0-9.:]+)")[1]

        def answered() -> int:
            with urllib.request.urlopen(f"http://{address}/", timeout=10) as response:
                return int(response.read())

        first = answered()
        for _ in range(40):
            answered()
        lbkit.wait_for(r"worker 1 \(pid [0-9]+\) is replaced: it has [12][0-9][0-9] MiB of memory")
        wait_until(lambda: answered() != first)
        wait_until(lambda: not Path(f"/proc/{first}").exists())
        assert lbkit.stop() == 0

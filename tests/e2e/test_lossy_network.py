"""Each relay over a network with delay and loss: nothing is lost, doubled or overtaken."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbkit.relay import RELAYS
from tests.support.lossy import LossyLink, lossy_link, why_not
from tests.support.processes import ROOT

pytestmark = pytest.mark.xdist_group("lossy network")

SERVER = """
import socket, threading
def talk(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.close()
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
while True:
    threading.Thread(target=talk, args=(listening.accept()[0],), daemon=True).start()
"""

CLIENT = """
import random, socket, sys, threading
address, seed = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
rng = random.Random(seed)
def talk(number, data):
    sock = socket.create_connection(address, timeout=60)
    for _ in range(3):
        sock.sendall(b"short")
        got = b""
        while len(got) < 5:
            got += sock.recv(5 - len(got))
    def send():
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    sending = threading.Thread(target=send)
    sending.start()
    got = bytearray()
    while part := sock.recv(65536):
        got += part
    sending.join()
    sock.close()
    found.append("same" if got == data else f"session {number}: {len(got)} of {len(data)} bytes, or others")
found = []
sessions = [threading.Thread(target=talk, args=(n, rng.randbytes(rng.randrange(400_000)))) for n in range(8)]
for session in sessions: session.start()
for session in sessions: session.join()
print("\\n".join(found))
"""


@pytest.fixture(scope="module")
def link() -> Iterator[LossyLink]:
    if reason := why_not():
        pytest.skip(reason)
    with lossy_link(delay=0.01, loss=0.02) as link:
        yield link


@contextlib.contextmanager
def running(link: LossyLink, namespace: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    process = link.popen(namespace, *command)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("relay", list(RELAYS))
def test_nothing_is_lost(relay: str, link: LossyLink, tmp_path: Path) -> None:
    if reason := RELAYS[relay].factory.unsupported():
        pytest.skip(f"relay {relay}: {reason}")
    with running(link, link.second, sys.executable, "-c", SERVER) as server:
        assert server.stdout is not None
        file, log = tmp_path / "lbkit.toml", tmp_path / "log"
        # A namespace of its own: any port is free in it.
        file.write_text(
            f'[listeners.web]\nlisten = "{link.address}:7000"\npool = "p"\nrelay = "{relay}"\n'
            f'[[pools.p.servers]]\nname = "a"\naddress = "127.0.0.1:{server.stdout.readline().strip()}"\n'
        )
        start = f"cd {ROOT} && exec {sys.executable} -m lbkit run {file} 2> {log}"
        with running(link, link.second, "sh", "-c", start):
            wait_for_text(log, "listens on")
            with running(link, link.first, sys.executable, "-c", CLIENT, link.address, "7000", "7") as client:
                shown, _ = client.communicate(timeout=120)
        assert shown.splitlines() == ["same"] * 8
        assert "WARNING" not in log.read_text()


def wait_for_text(file: Path, text: str) -> None:
    from tests.support.processes import wait_until

    wait_until(lambda: file.exists() and text in file.read_text(), what=text)

"""A real etcd for tests: one server, that starts and elects itself in a tenth of a second."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lbkit.config import PoolTlsConfig
from lbkit.mysql.etcd import Etcd
from lbkit.server import Address
from lbkit.tls.client import ClientTls
from tests.support.certificates import Authority, client_context
from tests.support.programs import free_ports, program

__all__ = ["LiveEtcd", "running_etcd"]

HOST = "127.0.0.1"


class LiveEtcd:
    """A running one. Its election takes 50 ms, and with it the shortest lease that it grants is 1 s."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        self._authority = authority
        self._token = ""
        self.port, peer = free_ports(HOST, 2)
        peers = f"http://{HOST}:{peer}"
        clients = f"{'https' if authority else 'http'}://{HOST}:{self.port}"
        command = [program("etcd", "etcd-server"), "--data-dir", str(folder / "etcd"), "--logger", "zap"]
        command += ["--listen-client-urls", clients, "--advertise-client-urls", clients]
        command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
        command += ["--initial-cluster", f"default={peers}"]
        command += ["--heartbeat-interval", "10", "--election-timeout", "50"]
        if authority:
            own = str(authority.issue("etcd.pem", [HOST]))
            command += ["--cert-file", own, "--key-file", own]
            command += ["--client-cert-auth", "--trusted-ca-file", str(authority.ca)]
            self._own = authority.issue("client.pem", [], subject="lbkit")
        self._command = command
        self._log = folder / "etcd.log"
        self.start()

    def start(self) -> None:
        """For the first time, or again where it was killed, with the data that it had."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)

    @property
    def address(self) -> Address:
        return Address(HOST, self.port)

    def client(self, *before: Address, timeout: float = 2.0, **login: str) -> Etcd:
        """One that knows the servers *before* and, last, this one."""
        tls = None
        if self._authority:
            tls = ClientTls(PoolTlsConfig(self._authority.ca, certificate=self._own), "x")
        return Etcd([*before, self.address], timeout, tls=tls, **login)

    def until_ready(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                if "error" not in self.ask("kv/range", {"key": "eA=="}):
                    return
            assert self._process.poll() is None, self._log.read_text("utf-8", "replace")
            assert time.monotonic() < deadline, self._log.read_text("utf-8", "replace")
            time.sleep(0.01)

    def ask(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """By another client than the one that is tested."""
        if self._authority:
            context = client_context(self._authority, certificate=self._own)
            connection: Any = http.client.HTTPSConnection(HOST, self.port, timeout=5, context=context)
        else:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        with contextlib.closing(connection):
            fields = {"Authorization": self._token} if self._token else {}
            connection.request("POST", f"/v3/{method}", json.dumps(body), fields)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer

    def secure(self, user: str, password: str, key: str) -> None:
        """From now on only who logs in gets anything, and *user* only one key, given in base64."""
        for name in ("root", user):
            self.ask("auth/user/add", {"name": name, "password": password})
            self.ask("auth/role/add", {"name": name})
            self.ask("auth/user/grant", {"user": name, "role": name})
        rights = {"permType": "READWRITE", "key": key}
        self.ask("auth/role/grant", {"name": user, "perm": rights})
        self.ask("auth/enable", {})
        self._token = self.ask("auth/authenticate", {"name": "root", "password": password})["token"]

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def running_etcd(folder: Path, authority: Authority | None = None) -> Iterator[LiveEtcd]:
    """Runs, and answers, until the block's end."""
    etcd = LiveEtcd(folder, authority)
    try:
        etcd.until_ready()
        yield etcd
    finally:
        etcd.kill()

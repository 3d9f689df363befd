"""Clients that are slow on purpose, by slowhttptest: they cost little, and others are served meanwhile."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbkit.cluster.packages import fetch_tool
from lbkit.errors import StartFailed
from tests.support.processes import Lbkit, fetch_json, wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")

CLIENTS = 200
SECONDS = 6
LARGE = 2 * 1024 * 1024


@pytest.fixture(scope="module")
def slowhttptest() -> Path:
    if found := shutil.which("slowhttptest"):
        return Path(found)
    try:
        return fetch_tool("slowhttptest")
    except StartFailed as error:
        pytest.skip(f"slowhttptest: {error}")


APP = f"""
async def app(scope, receive, send):
    assert scope["type"] in ("http", "lifespan")
    if scope["type"] == "lifespan":
        raise RuntimeError("none")
    while (await receive()).get("more_body"):
        pass
    body = bytes({LARGE}) if scope["path"] == "/large" else b"small"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Lbkit]:
    """A proxy with short timeouts, in front of an application that reads all and may answer with much."""
    (tmp_path / "application.py").write_text(APP)
    command = ("app", "application:app", "--listen", "127.0.0.1:0")
    env = {"PYTHONPATH": str(tmp_path)}
    with Lbkit(*command, log=tmp_path / "app", env=env) as app:
        port = app.wait_for(r"127\.0\.0\.1:([1-9][0-9]*)")[1]
        file = tmp_path / "lbkit.toml"
        file.write_text(
            '[global]\ndrain_timeout = "1s"\n[admin]\nlisten = "127.0.0.1:0"\n'
            '[listeners.web]\nlisten = "127.0.0.1:0"\nmode = "http"\npool = "p"\n'
            'timeouts = { request_head = "1s", client = "1s", keep_alive = "1s" }\n'
            f'[pools.p]\nservers = [{{ name = "a", address = "127.0.0.1:{port}" }}]\n'
        )
        with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
            lbkit.wait_for("web listens on")
            yield lbkit


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def rss_of(pid: int) -> int:
    """MiB."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) // 1024


def seconds_of_a_request(address: str) -> float:
    began = time.monotonic()
    connection = http.client.HTTPConnection(address, timeout=5)
    connection.request("GET", "/small")
    assert connection.getresponse().read() == b"small"
    connection.close()
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (("-H",), "/small"),
        (("-B", "-s", "8192"), "/small"),
        (("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-k", "3"), "/large"),
    ],
    ids=["head", "body", "read"],
)
def test_slow_clients_hold_up_nobody(
    kind: tuple[str, ...], target: str, site: Lbkit, slowhttptest: Path, tmp_path: Path
) -> None:
    pid, address = site.process.pid, site.address_of("web")
    seconds_of_a_request(address)
    wait_until(lambda: open_sessions(site) == 0)
    descriptors, memory = descriptors_of(pid), rss_of(pid)
    command = [
        str(slowhttptest),
        *kind,
        "-c",
        str(CLIENTS),
        "-r",
        str(CLIENTS),
        "-i",
        "2",
        "-l",
        str(SECONDS),
    ]
    attack = subprocess.Popen(
        [*command, "-u", f"http://{address}{target}", "-p", "5"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: open_sessions(site) > CLIENTS // 4)
        slowest, most, largest = 0.0, 0, 0
        while attack.poll() is None:
            slowest = max(slowest, seconds_of_a_request(address))
            most = max(most, descriptors_of(pid))
            largest = max(largest, rss_of(pid))
            time.sleep(0.02)  # a client now and then, and no second attack
    finally:
        attack.kill()
        attack.wait()
    # Behind a slow client it would take until that is cut off; a busy machine is slow, too.
    assert slowest < SECONDS / 2, f"{slowest:.2f} s for somebody else's small file"
    assert most <= descriptors + 2 * (CLIENTS + 10), "a client and a server each, and nothing more"
    assert largest - memory < 100, (
        f"{largest - memory} MiB for {CLIENTS} slow clients of {LARGE >> 20} MiB each"
    )
    wait_until(lambda: open_sessions(site) == 0)
    wait_until(lambda: descriptors_of(pid) <= descriptors + 10)


def open_sessions(site: Lbkit) -> int:
    return int(fetch_json(site.address_of("admin"))["listeners"]["web"]["open_sessions"])

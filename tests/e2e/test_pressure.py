"""More clients than there is room for: a real process under real limits."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbkit.bench.closed import ClosedLoad
from lbkit.relay import RELAYS
from lbkit.server import Address
from tests.support.backends import Backend, echo
from tests.support.processes import Lbkit, fetch_json, wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
every_relay = pytest.mark.parametrize("relay", list(RELAYS))


@pytest.fixture(autouse=True)
def it_works_here(request: pytest.FixtureRequest) -> None:
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("relay")
    if name and (reason := RELAYS[name].factory.unsupported()):
        pytest.skip(f"relay {name}: {reason}")


@pytest.fixture
def answers() -> Iterator[str]:
    """The bundled HTTP server, as a process: its ``host:port``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lbkit.bench.answers"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield f"127.0.0.1:{int(process.stdout.readline())}"
    process.terminate()
    process.communicate()


def balancer(tmp_path: Path, server: str, relay: str, *listener: str, descriptors: int = 0) -> Lbkit:
    file = tmp_path / "lbkit.toml"
    lines = [
        '[global]\ndrain_timeout = "1s"\n[admin]\nlisten = "127.0.0.1:0"',
        f'[listeners.web]\nlisten = "127.0.0.1:0"\npool = "p"\nrelay = "{relay}"',
        *listener,
        f'[[pools.p.servers]]\nname = "a"\naddress = "{server}"',
    ]
    file.write_text("\n".join(lines))
    lbkit = Lbkit("run", str(file), log=tmp_path / "log")
    lbkit.wait_for("web listens on")
    if descriptors:
        resource.prlimit(lbkit.process.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
    return lbkit


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_of(pid: int) -> int:
    """KiB."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


@every_relay
async def test_without_descriptors_it_waits_does_not_spin_and_goes_on(relay: str, tmp_path: Path) -> None:
    async with Backend(echo) as server:
        with balancer(tmp_path, server, relay, descriptors=60) as lbkit:
            host, port = lbkit.listens("web")
            pid = lbkit.process.pid
            clients = [await asyncio.open_connection(host, port) for _ in range(100)]
            for number, (_, writer) in enumerate(clients):
                writer.write(b"%03d" % number)
            await asyncio.to_thread(wait_until, lambda: "pauses: too many open files" in lbkit.output.lower())
            before, began = cpu_of(pid), time.monotonic()
            await asyncio.sleep(1)  # measured: what it costs to wait
            used = (cpu_of(pid) - before) / (time.monotonic() - began)
            assert used < 0.3, f"it spins: {used:.0%} of a core"
            answered = 0
            async with asyncio.timeout(60):
                for number, (reader, writer) in enumerate(clients):
                    assert await reader.readexactly(3) == b"%03d" % number
                    writer.close()
                    await writer.wait_closed()
                    answered += 1
            assert answered == 100, "whoever waited had a turn, in the order of coming"
            assert lbkit.output.count("pauses") < 10
            status = fetch_json(lbkit.address_of("admin"))
            assert status["pools"]["p"]["servers"]["a"]["connect_errors"] == 0


@every_relay
def test_refusing_over_the_limit(relay: str, tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    server = f"127.0.0.1:{listening.getsockname()[1]}"
    with balancer(tmp_path, server, relay, "max_connections = 5", 'when_full = "refuse"') as lbkit:
        place = lbkit.listens("web")
        held = [socket.create_connection(place) for _ in range(5)]
        admin = lbkit.address_of("admin")
        wait_until(lambda: fetch_json(admin)["listeners"]["web"]["open_sessions"] == 5)
        with socket.create_connection(place) as client, pytest.raises(ConnectionResetError):
            client.recv(1)
        assert fetch_json(admin)["listeners"]["web"]["refused"] == 1
        for sock in held:
            sock.close()
    listening.close()


@every_relay
async def test_nothing_is_left_of_many_sessions(relay: str, tmp_path: Path, answers: str) -> None:
    """Kept and short connections, and some that are cut: descriptors and memory come back."""
    with balancer(tmp_path, answers, relay) as lbkit:
        pid, address = lbkit.process.pid, Address.parse(lbkit.address_of("web"))
        idle = descriptors_of(pid)

        async def load(seconds: float) -> int:
            requests = 0
            for close in (True, False):
                result = await ClosedLoad(
                    address, "/small", connections=100, seconds=seconds, close=close
                ).run()
                assert not result.failures
                requests += result.requests
            return requests

        await load(1.0)
        before = rss_of(pid)
        assert await load(2.0) > 1000
        await asyncio.to_thread(wait_until, lambda: descriptors_of(pid) <= idle + 64)
        assert rss_of(pid) < before + 4096, "flat, but for what the allocator keeps"
        admin = lbkit.address_of("admin")
        await asyncio.to_thread(
            wait_until, lambda: fetch_json(admin)["listeners"]["web"]["open_sessions"] == 0
        )

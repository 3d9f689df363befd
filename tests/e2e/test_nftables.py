"""What `lbkit firewall export` writes, carried out by the kernel in a namespace of the test's own."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbkit.firewall import Network, NetworkTable, place_of
from tests.support.namespace import Namespace, namespace, why_not
from tests.support.processes import run_lbkit
from tests.support.programs import program

SERVER = """
import socket, threading
open_sockets = []
def accept(family, host):
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listening.bind((host, 8080))
    listening.listen(100)
    def always():
        while True:
            open_sockets.append(listening.accept()[0])
    threading.Thread(target=always, daemon=True).start()
accept(socket.AF_INET, "0.0.0.0")
accept(socket.AF_INET6, "::")
print("ready", flush=True)
input()
"""

# For each line "SOURCE TARGET KEEP" it says whether it came in. Kept ones stay open until the end.
CLIENT = """
import socket, sys
kept = []
for line in sys.stdin:
    source, target, keep = line.split()
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    sock = socket.socket(family)
    sock.settimeout(3)
    if family == socket.AF_INET:
        sock.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND
    sock.bind((source, 0))
    try:
        sock.connect((target, 8080))
        print("in", flush=True)
    except OSError as error:
        print("reset" if isinstance(error, ConnectionError) else repr(error), flush=True)
    if int(keep):
        kept.append(sock)
    else:
        sock.close()
"""


class Net:
    """A namespace with a server on port 8080 of every address, and a client with any address."""

    def __init__(self, inside: Namespace, nft: str, folder: Path) -> None:
        self._inside = inside
        self._nft = nft
        self._folder = folder

    def apply(self, firewall: str, listen: str = "[::]:8080") -> None:
        """Export a configuration with that firewall, and have the kernel carry it out."""
        file, out = self._folder / "lbkit.toml", self._folder / "out.nft"
        file.write_text(
            f'[listeners.web]\nlisten = "{listen}"\npool = "p"\n[listeners.web.firewall]\n{firewall}\n'
            '[[pools.p.servers]]\nname = "a"\naddress = "127.0.0.1:9001"\n'
        )
        shown = run_lbkit("firewall", "export", str(file), "-o", str(out))
        assert shown.returncode == 0, shown.stderr
        for arguments in (("-c", "-f"), ("-f",)):
            found = self._inside.run(self._nft, *arguments, str(out))
            assert found.returncode == 0, found.stderr + out.read_text()

    def talk(self, lines: str) -> list[str]:
        """What became of each connection, in order, all by one client process."""
        found = self._inside.run(sys.executable, "-c", CLIENT, stdin=lines)
        assert found.returncode == 0, found.stderr
        return found.stdout.split("\n")[:-1]

    def connect(self, *sources: str, keep: bool = False) -> list[str]:
        return self.talk("".join(f"{one} {_target(one)} {int(keep)}\n" for one in sources))

    def elements(self, name: str) -> str:
        return self.rules().partition(f"set {name}")[2].partition("chain")[0].partition("set ")[0]

    def rules(self) -> str:
        return self._inside.run(self._nft, "list", "table", "inet", "lbkit").stdout


def _target(source: str) -> str:
    return "2001:db8:ffff::1" if ":" in source else "10.255.255.1"


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    if reason := why_not():
        pytest.skip(reason)
    nft = program("nft", package="nftables")
    with namespace("nft") as inside:
        if (found := inside.run(nft, "list", "ruleset")).returncode:
            pytest.skip(f"this kernel has no nftables: {found.stderr.strip()}")
        with inside.running(sys.executable, "-c", SERVER) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield Net(inside, nft, tmp_path_factory.mktemp("nft"))


pytestmark = pytest.mark.xdist_group("nftables")


def test_who_is_denied_does_not_come_in(net: Net) -> None:
    net.apply('deny = ["10.2.0.0/16", "2001:db8:2::/48"]')
    found = net.connect("10.1.0.1", "10.2.0.1", "10.2.255.255", "10.3.0.0", "2001:db8:1::1", "2001:db8:2::1")
    assert found == ["in", "reset", "reset", "in", "in", "reset"]
    assert "counter packets 2 bytes" in net.rules()


def test_the_kernel_decides_as_lbkit_does(net: Net) -> None:
    rng = random.Random(7)

    def some(count: int) -> list[str]:
        v4 = [
            f"{Network(10 << 24 | rng.getrandbits(24) & -1 << bits & 0xFFFFFF, 1 << bits)}"
            for bits in (rng.randrange(8, 24) for _ in range(count))
        ]
        v6 = [f"2001:db8:{rng.randrange(256):x}00::/{rng.choice((36, 38, 40))}" for _ in range(count // 2)]
        return v4 + [text for text in v6 if _is_network(text)]

    for allow in (["10.0.0.0/8", "2001:db8::/32", *some(30)], some(40), []):
        deny = some(60)
        net.apply(f"allow = {allow}\ndeny = {deny}".replace("'", '"'))
        table = NetworkTable([Network.parse(text) for text in allow], [Network.parse(text) for text in deny])
        clients = [f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}" for _ in range(80)]
        clients += [f"2001:db8:{rng.randrange(65536):x}::1" for _ in range(40)]
        wanted = ["in" if table.admits(place_of(client)) else "reset" for client in clients]
        assert {"in", "reset"} == set(wanted), "both are tried"
        assert net.connect(*clients) == wanted


def _is_network(text: str) -> bool:
    try:
        Network.parse(text)
    except ValueError:
        return False
    return True


def test_the_rate_is_each_clients_own(net: Net) -> None:
    net.apply('connection_rate = "1/m burst 3"')
    assert net.connect(*["10.1.0.1"] * 5, "10.1.0.2") == ["in", "in", "in", "reset", "reset", "in"]
    # All of one /64 are one client.
    same = [f"2001:db8:1::{number:x}" for number in range(1, 6)]
    assert net.connect(*same, "2001:db8:1:1::1") == ["in", "in", "in", "reset", "reset", "in"]


def test_connections_at_a_time(net: Net) -> None:
    net.apply("max_connections_per_client = 3")
    found = net.connect(*["10.1.0.1"] * 5, "10.1.0.2", keep=True)
    assert found == ["in", "in", "in", "reset", "reset", "in"]
    six = [f"2001:db8:1::{number:x}" for number in range(1, 6)]
    assert net.connect(*six, keep=True) == ["in", "in", "in", "reset", "reset"]


def test_offences_ban(net: Net) -> None:
    net.apply('connection_rate = "600/s burst 1"\nban_after = 3\nban_window = "1h"\nban_time = "1h"')
    found: list[str] = []
    while "10.1.0.1" not in net.elements("l_web_banned4"):
        found += net.connect(*["10.1.0.1"] * 20)
        assert len(found) < 2000
    assert found.count("reset") >= 3
    assert net.connect(*["10.1.0.1"] * 3, "10.1.0.2") == ["reset", "reset", "reset", "in"]


def test_only_the_listeners_address_is_closed(net: Net) -> None:
    net.apply('deny = ["10.2.0.0/16"]', listen="10.9.0.1:8080")
    assert net.talk("10.2.0.1 10.9.0.1 0\n10.2.0.1 10.9.0.2 0\n10.3.0.1 10.9.0.1 0\n") == [
        "reset",
        "in",
        "in",
    ]


def test_ten_thousand_networks_are_taken(net: Net, tmp_path: Path) -> None:
    rng = random.Random(7)
    networks = {
        f"{rng.randrange(1, 200)}.{rng.randrange(256)}.{rng.randrange(256)}.0/24" for _ in range(10_000)
    }
    (tmp_path / "bad.txt").write_text("\n".join(networks - {"10.1.1.0/24"}) + "\n10.1.2.0/24\n")
    net.apply(f'deny_file = "{tmp_path}/bad.txt"')
    assert net.connect("10.1.2.1") == ["reset"]

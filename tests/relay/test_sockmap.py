from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lbkit.errors import KernelUnsupported
from lbkit.kernel.bpf import SocketMap
from lbkit.kernel.tcp_info import tcp_info
from lbkit.relay import RELAYS, RelayEnd, sockmap
from lbkit.relay.joins import CREDIT, Joins, Lender
from lbkit.relay.sockmap import SockmapRelay
from tests.relay.joined import Joined, resources
from tests.support.loops import on_both_loops, until


@pytest.fixture(autouse=True)
def it_works_here(request: pytest.FixtureRequest) -> Iterator[None]:
    needs_it = "without" not in request.node.name
    if needs_it and (reason := SockmapRelay.unsupported()):
        pytest.skip(reason)
    yield


def relay_of(joined: Joined) -> SockmapRelay:
    assert isinstance(joined.relay, SockmapRelay)
    return joined.relay


@on_both_loops
async def test_the_clients_second_message_moves_a_session_into_the_kernel() -> None:
    async with resources() as shared, Joined("sockmap", shared) as joined:
        relay = relay_of(joined)
        await joined.pass_on(joined.client, joined.server, b"one")
        await joined.pass_on(joined.server, joined.client, b"two")
        assert not relay.client.is_joined
        await joined.pass_on(joined.client, joined.server, b"three")
        assert relay.client.is_joined and relay.server.is_joined
        assert len(shared.joins) == 2
        await joined.pass_on(joined.server, joined.client, b"four")
        assert (relay.bytes_in, relay.bytes_out) == (8, 7)


@on_both_loops
async def test_under_auto_sessions_join_to_relieve_this_process() -> None:
    auto = SockmapRelay.for_auto()
    async with resources() as shared, Joined("sockmap", shared, factory=auto) as joined:
        relay = relay_of(joined)
        assert not relay.relieve(), "nobody knows yet whether it lasts"
        for _ in range(10):
            await joined.pass_on(joined.client, joined.server, b"question")
            await joined.pass_on(joined.server, joined.client, b"answer")
        assert not relay.client.is_joined
        assert relay.relieve()
        assert relay.client.is_joined and relay.server.is_joined
        assert not relay.relieve(), "it is done"
        for _ in range(10):
            await joined.pass_on(joined.client, joined.server, b"question")
            await joined.pass_on(joined.server, joined.client, b"answer")
        assert (relay.bytes_in, relay.bytes_out) == (20 * 8, 20 * 6)


@on_both_loops
async def test_a_session_with_big_messages_is_not_joined() -> None:
    async with resources() as shared, Joined("sockmap", shared) as joined:
        data = random.Random(1).randbytes(3_000_000)
        for _ in range(3):
            await joined.pass_on(joined.client, joined.server, b"more")
            sending = asyncio.create_task(joined.loop.sock_sendall(joined.server, data))
            assert await joined.read(joined.client, len(data)) == data
            await sending
            if not relay_of(joined).may_join:
                break
        assert not relay_of(joined).client.is_joined


@on_both_loops
async def test_the_limit_is_raised_while_the_reader_keeps_up() -> None:
    async with resources() as shared, Joined("sockmap", shared, age="lasting") as joined:
        for _ in range(5 * CREDIT // 10_000):
            await joined.pass_on(joined.server, joined.client, bytes(10_000))
            await asyncio.sleep(0)  # the kernel is so fast that nothing here ever waits
        relay = relay_of(joined)
        assert relay.server.is_joined
        await joined.send_and_shut(joined.client, b"end")
        assert await joined.read_all(joined.server) == b"end"
        joined.server.close()
        assert await joined.end() is RelayEnd.DONE
        assert joined.counts[1] == 5 * CREDIT // 10_000 * 10_000 + joined.warm_up


@on_both_loops
async def test_a_slow_reader_leaves_the_kernel_which_holds_no_more_than_a_credit() -> None:
    async with resources() as shared, Joined("sockmap", shared, age="lasting") as joined:
        relay = relay_of(joined)
        data = random.Random(2).randbytes(40_000_000)
        sending = asyncio.create_task(joined.send_and_shut(joined.server, data))
        await until(lambda: relay.server.stopped_at >= 0 or not relay.server.is_joined)
        info, taken = relay.server.info, relay.client.info
        assert info is not None and taken is not None
        assert relay.client.is_joined, "the other direction stays"
        await asyncio.wait([sending], timeout=0.3)
        assert not sending.done(), "the sender is held back"
        await joined.pass_on(joined.client, joined.server, b"still there")
        assert await joined.read_all(joined.client) == data
        await sending
        assert not relay.server.is_joined
        joined.client.close()
        assert await joined.end() is RelayEnd.DONE
        assert joined.counts[1] == len(data) + joined.warm_up


@on_both_loops
async def test_the_end_waits_for_what_the_kernel_holds() -> None:
    async with resources() as shared, Joined("sockmap", shared, age="lasting") as joined:
        data = random.Random(3).randbytes(CREDIT // 3)
        await joined.send_and_shut(joined.client, data)
        assert await joined.read_all(joined.server) == data


@on_both_loops
async def test_nothing_of_an_ended_session_stays_in_the_map() -> None:
    async with resources() as shared:
        for _ in range(5):
            async with Joined("sockmap", shared, age="lasting"):
                assert len(shared.joins) == 2
            assert len(shared.joins) == 0


@on_both_loops
async def test_where_the_map_is_full_sessions_go_on_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    async with resources() as shared, Joined("sockmap", shared) as joined:

        def full(*_: object) -> None:
            raise OSError(7, "Argument list too long")

        monkeypatch.setattr(SocketMap, "_update", full)
        for _ in range(5):
            await joined.pass_on(joined.client, joined.server, b"question")
            await joined.pass_on(joined.server, joined.client, b"answer")
        assert not relay_of(joined).client.is_joined


async def test_bytes_are_counted_by_the_kernel_while_it_moves_them() -> None:
    async with resources() as shared, Joined("sockmap", shared, age="lasting") as joined:
        relay = relay_of(joined)
        before = relay.bytes_in
        await joined.pass_on(joined.client, joined.server, bytes(12_345))
        assert relay.bytes_in == before + 12_345 == tcp_info(relay.client.sock).received


@on_both_loops
async def test_where_only_one_side_can_join_both_ways_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with resources() as shared, Joined("sockmap", shared) as joined:
        relay, join = relay_of(joined), shared.joins.join

        def join_client_only(source: socket.socket, cookie: bytes, lender: Lender) -> None:
            if lender is relay.server:
                raise OSError(12, "Cannot allocate memory")
            join(source, cookie, lender)

        monkeypatch.setattr(Joins, "join", lambda _, *arguments: join_client_only(*arguments))
        for _ in range(3):
            await joined.pass_on(joined.client, joined.server, b"question")
        assert relay.client.is_joined and not relay.server.is_joined
        data = random.Random(5).randbytes(20_000_000)
        sending = asyncio.create_task(joined.send_and_shut(joined.server, data))
        await asyncio.wait([sending], timeout=0.3)
        assert await joined.read_all(joined.client) == data
        await sending
        await joined.send_and_shut(joined.client, b"end")
        assert await joined.read_all(joined.server) == b"end"


@on_both_loops
async def test_counts_never_decrease_when_the_kernel_stops() -> None:
    async with resources() as shared, Joined("sockmap", shared, age="lasting") as joined:
        relay = relay_of(joined)
        sending = asyncio.create_task(joined.send_and_shut(joined.server, bytes(20_000_000)))
        last = 0
        received = 0
        async with asyncio.timeout(30):
            while received < 20_000_000:
                received += len(await joined.loop.sock_recv(joined.client, 20_000))
                assert relay.bytes_out >= last
                last = relay.bytes_out
        await sending


UNPRIVILEGED = """
import os, sys
os.setgid(65534); os.setuid(65534)
from lbkit.relay import choose_relay
from lbkit.relay.sockmap import SockmapRelay
print(SockmapRelay.unsupported())
print(choose_relay("auto").__name__)
try:
    choose_relay("sockmap")
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")
def test_without_rights_it_says_why_and_auto_takes_the_next() -> None:
    path = os.pathsep.join(dict.fromkeys(sys.path))
    # Read first: what is imported afterwards may be closed to nobody.
    code = "import lbkit.relay, lbkit.relay.sockmap, lbkit.relay.splice" + UNPRIVILEGED
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 0, result.stderr
    why, taken, refused = result.stdout.splitlines()
    assert why == "needs root, or the capabilities CAP_BPF and CAP_NET_ADMIN"
    assert taken == "SpliceRelay"
    assert refused == f'relay "sockmap" cannot be used here: {why}'


def test_without_a_socket_map_the_reason_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refuse(*_: object) -> None:
        tries.append(1)
        raise KernelUnsupported("not today")

    monkeypatch.setattr(sockmap, "SocketMap", refuse)
    sockmap._why_not.cache_clear()
    try:
        assert [RELAYS["sockmap"].factory.unsupported() for _ in range(3)] == ["not today"] * 3
        assert len(tries) == 1
    finally:
        sockmap._why_not.cache_clear()

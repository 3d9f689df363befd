from __future__ import annotations

import asyncio

import pytest

from lbkit.mysql.driver import connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.observation import Reach
from lbkit.mysql.probe import Probe
from tests.mysql.test_driver import tcp_server
from tests.support.databases import LivePair


async def test_what_a_pair_says(managed_pair: LivePair) -> None:
    seen = {}
    for dsn in managed_pair.admin_dsns:
        probe = Probe(dsn, 5)
        seen[dsn.name] = await probe.look()
        await probe.close()
    (primary,) = [one for one in seen.values() if one.writable]
    (replica,) = [one for one in seen.values() if not one.writable]
    assert primary.link is None
    assert replica.link is not None
    assert replica.link.running
    assert replica.link.source == managed_pair.server_address(primary.name)
    assert (primary.semi_sync.waits, replica.semi_sync.waits) == (True, False)
    assert (primary.semi_sync.endless, primary.semi_sync.clients) == (True, 1)
    assert replica.semi_sync.acknowledges
    assert replica.executed <= primary.executed
    assert primary.uuid != replica.uuid
    assert not primary.group


async def test_an_account_of_an_application_sees_what_routing_needs(pair: LivePair) -> None:
    probe = Probe(Dsn.parse(pair.replica.dsn), 5, whole=False)
    seen = await probe.look()
    await probe.close()
    assert seen.link is not None
    assert seen.link.lag is not None
    assert seen.executed


async def test_the_end_of_a_connection_is_known_at_once(pair: LivePair) -> None:
    dsn = Dsn.parse(pair.primary.dsn)
    probe = Probe(dsn, 5)
    await probe.look()
    ended = asyncio.create_task(probe.ended())
    other = await connect(dsn, 5)
    assert probe._held is not None
    await other.execute(f"KILL CONNECTION {probe._held.id}")
    async with asyncio.timeout(5):
        await ended
    assert (await probe.look()).answers  # over a new one
    await probe.close()
    await other.close()


async def test_nobody_listens() -> None:
    async with tcp_server(lambda reader, writer: None) as dsn:
        pass
    seen = await Probe(dsn, 5).look()
    assert (seen.reach, seen.reason) == (Reach.REFUSED, "Connection refused")


async def test_silence() -> None:
    async with tcp_server(lambda reader, writer: None) as dsn:
        seen = await Probe(dsn, 0.05).look()
    assert (seen.reach, seen.reason) == (Reach.SILENT, "silent for 0.05 s")


async def test_a_connection_that_ends_proves_nothing() -> None:
    async with tcp_server(lambda reader, writer: writer.close()) as dsn:
        assert (await Probe(dsn, 5).look()).reach is Reach.LOST


async def test_a_server_that_lives_and_refuses(pair: LivePair) -> None:
    dsn = Dsn.parse(pair.primary.dsn)
    seen = await Probe(Dsn(dsn.host, dsn.port, "nobody", "wrong"), 5).look()
    assert seen.reach is Reach.DENIED
    assert "Access denied" in seen.reason


async def test_one_that_was_fenced_lets_no_application_in(managed_pair: LivePair) -> None:
    if managed_pair.flavour == "mariadb":
        return  # it has no offline mode
    admin = await connect(Dsn.parse(managed_pair.replica.admin_dsn), 5)
    probe = Probe(Dsn.parse(managed_pair.replica.dsn), 5, whole=False)
    try:
        for mode, reach in (("OFF", Reach.ANSWERS), ("ON", Reach.DENIED)):
            await admin.execute(f"SET GLOBAL offline_mode={mode}")
            seen = await probe.look()
            assert (seen.reach, seen.offline) == (reach, mode == "ON")
    finally:
        await admin.execute("SET GLOBAL offline_mode=OFF")
        await probe.close()
        await admin.close()


async def test_without_a_connection_nothing_ends() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Probe(Dsn("127.0.0.1", 1), 1).ended()

"""What every registered check does with servers that are not there."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from lbkit.checks import CHECKS, HealthCheck
from lbkit.errors import ServerError
from lbkit.proxy_protocol import build
from lbkit.server import Address
from tests.support.backends import Backend, free_address, full_backlog, hold
from tests.support.loops import on_both_loops

every_check = pytest.mark.parametrize("name", list(CHECKS))


def make(name: str) -> HealthCheck:
    return CHECKS[name].factory(CHECKS[name].options())


@every_check
@on_both_loops
async def test_a_server_that_refuses(name: str) -> None:
    with pytest.raises(ServerError, match="connection refused"):
        await make(name).probe(Address.parse(free_address()))


@every_check
@on_both_loops
async def test_nothing_stays_open_when_it_is_cancelled(name: str) -> None:
    listening, clients = full_backlog()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await make(name).probe(Address(*listening.getsockname()))
    for sock in (listening, *clients):
        sock.close()


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "tcp"])
@on_both_loops
async def test_a_silent_server_does_not_pass(name: str) -> None:
    async with Backend(hold) as address:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await make(name).probe(Address.parse(address))


INTRODUCTION = build("v1")


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "agent"])
@on_both_loops
async def test_a_check_introduces_itself_where_servers_expect_that(name: str) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(await reader.readexactly(len(INTRODUCTION)))

    async with Backend(talk) as address:
        check = make(name)
        check.introduction = INTRODUCTION
        with contextlib.suppress(ServerError):
            async with asyncio.timeout(5):
                await check.probe(Address.parse(address))
        async with asyncio.timeout(5):
            assert await seen == INTRODUCTION

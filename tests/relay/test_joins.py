from __future__ import annotations

import asyncio

import pytest

from lbkit.errors import KernelUnsupported
from lbkit.relay.joins import CREDIT, Joins
from tests.relay.joined import resources, tcp_pair
from tests.support.loops import on_both_loops, until


class Lender:
    def __init__(self) -> None:
        self.told: list[tuple[int, bool]] = []

    def limit_is_near(self, moved: int, stopped: bool) -> None:
        self.told.append((moved, stopped))


@on_both_loops
async def test_the_lender_is_told_at_half_of_the_credit_and_at_its_end() -> None:
    async with resources() as shared:
        try:
            joins: Joins = shared.joins
        except KernelUnsupported as error:
            pytest.skip(str(error))
        client, source = tcp_pair()
        server, target = tcp_pair()
        loop, lender = asyncio.get_running_loop(), Lender()
        cookie = joins.route(source, target)
        joins.join(source, cookie, lender)

        async def send(count: int) -> None:
            sending = asyncio.create_task(loop.sock_sendall(client, bytes(count)))
            while count:
                count -= len(await loop.sock_recv(server, count))
            await sending

        await send(CREDIT // 2 - 1)
        assert lender.told == []
        await send(2)
        await until(lambda: lender.told)
        joins.allow(cookie, lender.told[0][0])
        await send(CREDIT // 2 + 1)
        await until(lambda: len(lender.told) == 2)
        await send(CREDIT // 3)
        assert [stopped for _, stopped in lender.told] == [False, False]
        await loop.sock_sendall(client, bytes(CREDIT // 3))
        await until(lambda: len(lender.told) == 3)
        assert lender.told[2][1]
        joins.part(cookie)
        joins.part(cookie)
        for sock in (client, source, server, target):
            sock.close()

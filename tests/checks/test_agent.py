from __future__ import annotations

import asyncio

import pytest

from lbkit.checks import CHECKS, judge
from lbkit.checks.agent import AgentCheck, AgentCheckOptions
from lbkit.server import Address
from tests.support.backends import Backend, free_address
from tests.support.loops import on_both_loops


def saying(line: bytes):  # type: ignore[no-untyped-def]
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(line)
        writer.close()

    return answer


@on_both_loops
async def test_the_first_line_is_what_the_agent_says() -> None:
    async with Backend(saying(b"75% # busy\r\nmore")) as backend:
        assert await judge(AgentCheck(AgentCheckOptions()), Address.parse(backend), 5) == (True, "75% # busy")


@on_both_loops
async def test_the_agent_may_have_a_port_of_its_own() -> None:
    async with Backend(saying(b"drain\n")) as backend:
        agent = AgentCheck(AgentCheckOptions(port=Address.parse(backend).port))
        assert await judge(agent, Address("127.0.0.1", 9), 5) == (True, "drain")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "the agent said nothing"),
        (b"what?\n", "unknown word 'what?' of the agent"),
        (b"x" * 2000, "the agent's line has more than 512 bytes"),
        (b"\xff\n", "unknown word"),
    ],
)
@on_both_loops
async def test_what_is_no_advice_fails(line: bytes, reason: str) -> None:
    async with Backend(saying(line)) as backend:
        passed, said = await judge(AgentCheck(AgentCheckOptions()), Address.parse(backend), 5)
    assert not passed
    assert reason in said


@on_both_loops
async def test_nobody_there() -> None:
    passed, _ = await judge(AgentCheck(AgentCheckOptions()), Address.parse(free_address()), 5)
    assert not passed


def test_it_is_registered_and_checks_its_port() -> None:
    assert CHECKS["agent"].factory.advises
    with pytest.raises(ValueError, match="port: 70000"):
        AgentCheckOptions(port=70000)
